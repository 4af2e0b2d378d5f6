import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import type { SpawnedGateway } from "../support/spawn-gateway.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { openStreamable, sendTo } from "../support/streamable-client.ts";
import { connect, listen, WAYS } from "./keys-clients.ts";
import { fromAnywhere, has, knock, startKeysStage, type KeysStage, type MadeKey } from "./keys-stage.ts";

const LIMIT_MS = 10_000;
const METRICS_TOKEN = "metrics-token-of-the-test";
const UNKNOWN_ID = "00000000-0000-4000-8000-000000000000";
const PING = { jsonrpc: "2.0", id: 1, method: "ping" };

describe("keys of a file on three instances", () => {
  let stage: KeysStage;
  /** What must be seen nowhere: keys, their hashes, and tokens. */
  const canaries = new Set<string>();
  /** Answers to whom it may not. */
  const refusals: string[] = [];
  const spawned: SpawnedGateway[] = [];

  beforeAll(async () => {
    stage = await startKeysStage(3);
    spawned.push(...stage.gateways);
  });
  afterAll(() => stage?.close());

  const at = (index: number) => stage.gateways[index] as SpawnedGateway;
  function secret(made: MadeKey): MadeKey {
    canaries.add(made.key);
    canaries.add(createHash("sha256").update(made.key).digest("hex"));
    return made;
  }
  const write = async (...given: Parameters<KeysStage["write"]>) => secret(await stage.write(...given));

  async function openStream(gateway: SpawnedGateway, key: string, inUrl = false): Promise<TestStream> {
    const headers = { ...fromAnywhere(), ...(inUrl ? {} : { "x-api-key": key }) };
    const path = inUrl ? `/mcp/sse?apiKey=${key}` : "/mcp/sse";
    const stream = await openTestStream(gateway.url, { headers, path });
    onTestFinished(() => stream.cut());
    canaries.add(new URL(stream.endpoint).searchParams.get("token") as string);
    return stream;
  }
  const withKey = (key: string) => ({ "x-api-key": key, ...fromAnywhere() });

  /** An answer, but for what differs between any two of the same kind. */
  async function likeness(response: Response): Promise<{ status: number; words: string }> {
    const text = await response.text();
    refusals.push(text);
    const { reason, error } = JSON.parse(text) as Record<string, unknown>;
    return { status: response.status, words: JSON.stringify([reason, error]) };
  }
  async function knockWith(gateway: SpawnedGateway, key: string): Promise<{ status: number; words: string }> {
    const answer = await knock(gateway.url, key);
    if (answer.status === 200) return (answer.cut(), { status: 200, words: "" });
    return likeness(new Response(await answer.ended, { status: answer.status }));
  }
  const closedWith = async (key: string, gateways: readonly SpawnedGateway[] = stage.gateways) =>
    (await Promise.all(gateways.map((gateway) => stage.audit(gateway))))
      .flat()
      .filter(
        (line) =>
          line["event"] === "session_closed" && line["key"] === key && line["reason"] === "key_revoked",
      );

  test("one that the command line made opens each way, everywhere; revoked, it closes all of it and nothing else", async () => {
    const made = secret(await stage.create("ci"));
    const other = await write({ name: "bystander" });
    const clients = await Promise.all(
      stage.gateways.flatMap(({ url }) => WAYS.map((way) => connect(url, made.key, way))),
    );
    const untouched = await Promise.all(
      stage.gateways.map(({ url }, index) => connect(url, other.key, WAYS[index] ?? "SSE, header")),
    );
    await Promise.all([...clients, ...untouched].map((client) => client.echo("here")));
    const streams = await Promise.all(stage.gateways.map((gateway) => openStream(gateway, made.key, true)));
    const listens = await Promise.all(stage.gateways.map(({ url }) => listen(url, made.key)));
    expect(listens.map(({ status }) => status)).toEqual([200, 200, 200]);

    const ends = Promise.all(
      [...streams, ...listens].map(({ ended }) => ended.then(() => performance.now())),
    );
    const began = performance.now();
    await stage.keys("revoke", made.id);
    const revokedAt = performance.now();
    await eventually(async () => expect(await closedWith(made.id)).toHaveLength(12), LIMIT_MS);
    const endedAt = Math.max(...(await ends));
    process.stderr.write(
      `revoked with the command in ${Math.round(revokedAt - began)} ms; 12 sessions and 3 listens on 3 instances had ended ${Math.round(endedAt - revokedAt)} ms after it\n`,
    );

    await Promise.all(clients.map((client) => expect(client.echo("gone")).rejects.toThrow()));
    await Promise.all(untouched.map((client) => client.echo("still here")));
    expect(untouched.flatMap(({ errors }) => errors)).toEqual([]);
    for (const [index, stream] of streams.entries()) {
      const gateway = at(index);
      const byToken = await likeness(await stream.post(PING, fromAnywhere()));
      const forged = stream.endpoint.replace(/token=.*/, `token=${made.id}-${"A".repeat(43)}`);
      const unknown = await fetch(forged.replace(stream.sessionId, UNKNOWN_ID), {
        method: "POST",
        headers: { "content-type": "application/json", ...fromAnywhere() },
        body: JSON.stringify(PING),
      });
      expect(byToken).toEqual(await likeness(unknown));
      expect(byToken.status).toBe(404);
      const byKey = await likeness(await stream.post(PING, withKey(made.key)));
      expect(byKey).toEqual(await likeness(await stream.post(PING, withKey("no-key-at-all"))));
      expect(byKey.status).toBe(401);
      expect(await knockWith(gateway, made.key)).toEqual(await knockWith(gateway, "no-key-at-all"));
    }
  });

  test("one that was replaced goes on beside the new one, and so does what it opened", async () => {
    const old = secret(await stage.create("turning"));
    const stream = await openStream(at(0), old.key, true);
    const streamable = await openStreamable(at(1).url, { key: old.key });
    const fresh = secret(await stage.rotate("turning", "--overlap", "1h"));
    for (const gateway of stage.gateways) {
      expect((await knockWith(gateway, old.key)).status).toBe(200);
      expect((await knockWith(gateway, fresh.key)).status).toBe(200);
    }
    expect((await stream.post(PING, withKey(fresh.key))).status).toBe(202);
    expect(await stream.next(({ id }) => id === 1)).toMatchObject({ result: {} });
    const headers = { "x-api-key": fresh.key };
    expect((await streamable.send({ body: PING, headers })).status).toBe(200);

    const passing = await write({ name: "passing" });
    await stage.edit((callers) =>
      callers.splice(
        callers.findIndex(({ name }) => name === "passing"),
        1,
      ),
    );
    await stage.everywhere(has("removed", passing));
    expect((await stream.post({ ...PING, id: 2 }, fromAnywhere())).status).toBe(202);
    expect(await stream.next(({ id }) => id === 2)).toMatchObject({ result: {} });
  });

  test("one that ends by itself closes what it opened", async () => {
    const soon = await write({ name: "short" }, { expiresAt: new Date(Date.now() + 2000).toISOString() });
    const streams = await Promise.all(stage.gateways.map((gateway) => openStream(gateway, soon.key)));
    const listening = await listen(at(2).url, soon.key);
    expect(listening.status).toBe(200);
    await Promise.all([...streams, listening].map(({ ended }) => ended));
    await eventually(async () => expect(await closedWith(soon.id)).toHaveLength(3), LIMIT_MS);
    expect((await knockWith(at(0), soon.key)).status).toBe(401);
  });

  test("one that a client came back with, to another instance, ends what it came back to", async () => {
    const first = await write({ name: "moved" });
    const second = secret(await stage.add("moved"));
    const path = "/mcp/sse?clientId=moved";
    const stream = await openTestStream(at(0).url, { headers: withKey(first.key), path });
    await stream.initialize();
    const last = stream.events.at(-1)?.id ?? "";
    stream.cut();
    const headers = { ...withKey(second.key), "last-event-id": last };
    const back = await eventually(async () => {
      const again = await openTestStream(at(1).url, { headers, path });
      expect(again.sessionId).toBe(stream.sessionId);
      return again;
    }, LIMIT_MS);
    onTestFinished(() => back.cut());
    await stage.edit((callers) => {
      for (const caller of callers) caller.keys = caller.keys.filter(({ id }) => id !== second.id);
    });
    await back.ended;
  });

  test("one that is revoked opens no session again whose instance was killed", async () => {
    const gone = await write({ name: "heir" });
    const kept = secret(await stage.add("heir"));
    const doomed = await stage.spawn();
    spawned.push(doomed);
    onTestFinished(() => doomed.end());
    const [lost, saved] = [
      await openStreamable(doomed.url, { key: gone.key }),
      await openStreamable(doomed.url, { key: kept.key }),
    ];
    const lease = `mcp:instance:${doomed.instanceId}`;
    const records = [lost, saved].map(({ sessionId }) => `mcp:session:${sessionId}`);
    await eventually(async () => expect(await stage.db.exists(lease, ...records)).toBe(3), LIMIT_MS);
    doomed.signal("SIGKILL");
    await doomed.exited;
    await stage.edit((callers) => {
      for (const caller of callers) caller.keys = caller.keys.filter(({ id }) => id !== gone.id);
    });
    await stage.everywhere(has("removed", gone));
    await stage.db.pexpire(lease, 1);
    await eventually(async () => expect(await stage.db.exists(lease)).toBe(0), LIMIT_MS);
    const ask = (sessionId: string) =>
      sendTo(at(0).url, { body: PING, headers: { ...withKey(kept.key), "mcp-session-id": sessionId } });
    // That the other one is taken up shows that this one could have been.
    expect((await ask(saved.sessionId)).status).toBe(200);
    expect((await ask(lost.sessionId)).status).toBe(404);
  });

  test("stay as they are when the file is broken, which is said, and follow it again when it is whole", async () => {
    const before = await write({ name: "steady" });
    const stream = await openStream(at(0), before.key);
    let whole: Parameters<Parameters<KeysStage["edit"]>[0]>[0] = [];
    await stage.edit((callers) => void (whole = structuredClone(callers)));
    await stage.put('{"version":1,"callers":{"steady":{"keys":[]},"steady":{"keys":[]}}}');
    await stage.everywhere(
      ({ message }) => message === "The keys file cannot be used: the keys stay as they were",
    );
    await stage.everywhere(({ message }) => String(message).includes("stands twice in one object"));
    for (const gateway of stage.gateways) expect((await knockWith(gateway, before.key)).status).toBe(200);
    expect((await stream.post(PING, withKey(before.key))).status).toBe(202);
    await stage.putCallers(whole);
    const after = await write({ name: "after" });
    expect((await knockWith(at(1), after.key)).status).toBe(200);
  });

  test("open what the file says now, when a caller's scope changes", async () => {
    const { key } = await write({ name: "narrowed", scope: "*" });
    const client = await connect(at(0).url, key, "SSE, header");
    expect((await client.tools()).length).toBeGreaterThan(1);
    const stream = await openStream(at(1), key);
    const listening = await listen(at(2).url, key);
    await stage.edit((callers) => {
      for (const caller of callers) if (caller.name === "narrowed") caller.scope = "default/echo";
    });
    await Promise.all([stream.ended, listening.ended]);
    // The SDK's client comes back by itself.
    await eventually(async () => expect(await client.tools()).toEqual(["echo"]), LIMIT_MS);
  });

  test("leave their traces in a whole audit log, and themselves nowhere", async () => {
    const told = ["key_added", "key_removed", "key_changed", "key_expired", "session_closed"];
    for (const gateway of stage.gateways) {
      const events = (await stage.audit(gateway)).map(({ event }) => event);
      expect(events).toEqual(expect.arrayContaining(told));
    }
    const files = stage.gateways.map(stage.auditFile);
    const reports = await Promise.all(files.map((file) => stage.run("audit", "verify", file)));
    expect(reports.map(({ code }) => code)).toEqual([0, 0, 0]);
    const metrics = await Promise.all(
      stage.gateways.map(async ({ url }) => {
        const response = await fetch(`${url}/metrics`, {
          headers: { authorization: `Bearer ${METRICS_TOKEN}` },
        });
        expect(response.status).toBe(200);
        return response.text();
      }),
    );
    const audits = await Promise.all(spawned.map((gateway) => stage.auditText(gateway)));
    const logs = spawned.map((gateway) => gateway.stdout() + gateway.stderr());
    const everything = [...metrics, ...audits, ...logs, ...stage.said, ...refusals].join("\n");
    expect(canaries.size).toBeGreaterThan(20);
    for (const canary of canaries) expect(everything.includes(canary), canary).toBe(false);
  });
});
