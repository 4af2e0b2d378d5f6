import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startRedis } from "../support/redis-server.ts";
import { spawnGateway } from "../support/spawn-gateway.ts";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { openTestStream } from "../support/sse-client.ts";
import { ms, openFigures, percentile, sized } from "./figures.ts";
import { wait } from "./load.ts";
import { openProbe, type Probe, type Seen } from "./store-probe.ts";

const note = openFigures("5 Broken stores");
const BROKEN_MS = sized(3000, 20_000);

const worst = (answers: readonly { tookMs: number }[]) => Math.max(...answers.map(({ tookMs }) => tookMs));
const statuses = ({ remote }: Seen) =>
  [...new Set(remote.map(({ status }) => status))].sort((one, two) => one - two);
const told = (seen: Seen) => {
  const { local, remote } = seen;
  const counts = statuses(seen).map(
    (status) => `${remote.filter((answer) => answer.status === status).length} × ${status}`,
  );
  return (
    `local calls p99 ${ms(percentile(local, 0.99))}, ${local.filter((time) => time === Infinity).length} failed; ` +
    `POSTs for a session unknown elsewhere: ${counts.join(", ")}, slowest ${ms(worst(remote))}`
  );
};

describe.each(["redis", "upstash"] as const)("a broken store: %s", (store) => {
  /** Breaks the store for a while and looks at both instances meanwhile. */
  async function during(
    probe: Probe,
    breakIt: (proxy: FaultProxy) => unknown,
  ): Promise<Seen & { recoveryMs: number }> {
    const proxy = probe.cluster.storeProxy as FaultProxy;
    await breakIt(proxy);
    const watched = probe.watch();
    await wait(BROKEN_MS);
    const seen = await watched.stop();
    await proxy.heal();
    return { ...seen, recoveryMs: await probe.recovery([503]) };
  }

  test("FLT-01: without its store an instance starts, is not ready, and becomes ready when the store comes", async () => {
    if (store === "upstash") return;
    const redis = await startRedis(["--loglevel", "warning"]);
    const proxy = await startFaultProxy({ port: Number(new URL(redis.url).port) });
    await proxy.down();
    const gateway = await spawnGateway({ env: { REDIS_URL: `redis://127.0.0.1:${proxy.port}` } });
    onTestFinished(async () => {
      await gateway.end();
      await proxy.close();
      await redis.stop();
    });
    const [live, ready] = [await fetch(`${gateway.url}/health`), await fetch(`${gateway.url}/health/ready`)];
    await proxy.up();
    const start = performance.now();
    await eventually(async () => (await fetch(`${gateway.url}/health/ready`)).status === 200, 30_000);
    const took = performance.now() - start;
    note(
      "Redis down at start (FLT-01)",
      "health 200, ready 503, ready within 5 s of its coming",
      `health ${live.status}, ready ${ready.status}, ready after ${ms(took)}`,
      live.status === 200 && ready.status === 503 && took < 5000,
    );
    expect([live.status, ready.status]).toEqual([200, 503]);
  });

  test.each<[string, string, (proxy: FaultProxy) => unknown]>([
    ["FLT-02", "refused", (proxy) => proxy.down()],
    ["FLT-03", "hung", (proxy) => proxy.set("both", { timeout: true })],
  ])("%s: %s, local sessions do not notice and others get 503", async (id, how, breakIt) => {
    const probe = await openProbe({ store });
    const { recoveryMs, ...seen } = await during(probe, breakIt);
    const holds =
      seen.local.every((time) => time < 1000) &&
      seen.remote.every(({ status, tookMs }) => status === 503 && tookMs < 1000) &&
      recoveryMs < 5000;
    note(
      `${store} ${how} for ${BROKEN_MS / 1000} s (${id})`,
      "local calls work, others 503 within 1 s, never 404; back within 5 s",
      `${told(seen)}; back after ${ms(recoveryMs)}`,
      holds,
    );
    expect({ statuses: statuses(seen), failed: seen.local.filter((time) => time === Infinity) }).toEqual({
      statuses: [503],
      failed: [],
    });
    expect(worst(seen.remote)).toBeLessThan(2000);
  });

  test.each([
    ["+300 ms", { ms: 300 }],
    ["+900 ms give or take 900", { ms: 900, jitterMs: 900 }],
  ])("FLT-04: slow by %s, it works inside the deadline and is 503 beyond", async (how, latency) => {
    const probe = await openProbe({ store });
    const { recoveryMs, ...seen } = await during(probe, (proxy) => proxy.set("down", { latency }));
    const failed = seen.local.filter((time) => time === Infinity);
    note(
      `${store} slow by ${how} (FLT-04)`,
      "inside the deadline it works, beyond it 503; local calls do not notice",
      `${told(seen)}; back after ${ms(recoveryMs)}`,
      failed.length === 0 && worst(seen.remote) < 1500,
    );
    expect(failed).toEqual([]);
    // An unknown session is 404 when the store could be asked (429 for who asks for too many), and 503 when not.
    expect(statuses(seen).filter((status) => ![404, 429, 503].includes(status))).toEqual([]);
  });

  test("FLT-05: flapping every second, it is used while it is there and never called in a storm", async () => {
    const probe = await openProbe({ store });
    const proxy = probe.cluster.storeProxy as FaultProxy;
    const before = proxy.connections();
    const watched = probe.watch();
    const seconds = sized(6, 60);
    for (let second = 0; second < seconds; second += 1) {
      if (second % 2 === 0) await proxy.down();
      else await proxy.up();
      await wait(1000);
    }
    const seen = await watched.stop();
    await proxy.heal();
    const recoveryMs = await probe.recovery([503]);
    const perSecond = (proxy.connections() - before) / seconds / 2;
    const failed = seen.local.filter((time) => time === Infinity).length;
    note(
      `${store} 1 s away, 1 s there, ${seconds} s long (FLT-05)`,
      "local calls work; at most 5 connections a second and instance; back within 5 s",
      `${told(seen)}; ${perSecond.toFixed(1)} connections a second and instance; back after ${ms(recoveryMs)}`,
      failed === 0 && perSecond <= 5 && recoveryMs < 5000,
    );
    expect(failed).toBe(0);
  });

  test("FLT-07: emptied, it has the records and leases again after the next heartbeat", async () => {
    const probe = await openProbe({ store });
    const { db } = probe.cluster;
    const start = performance.now();
    await db?.flushall();
    const key = `mcp:session:${probe.stream.sessionId}`;
    await eventually(async () => (await db?.exists(key)) === 1, 30_000);
    const took = performance.now() - start;
    const answer = await probe.post(probe.owner);
    note(
      `${store} emptied (FLT-07)`,
      "the record is back within a heartbeat (here 1 s), the stream lives",
      `back after ${ms(took)}; the session answers ${answer.status}`,
      took < 10_000 && answer.status === 202,
    );
    expect(answer.status).toBe(202);
  });

  test("FLT-07b and 08: full, no session is touched and all is back at once; evicting, local sessions work on", async () => {
    const probe = await openProbe({ store });
    const { db } = probe.cluster;
    for (const policy of ["noeviction", "allkeys-lru"]) {
      await db?.config("SET", "maxmemory", "1mb");
      await db?.config("SET", "maxmemory-policy", policy);
      await wait(sized(1500, 5000));
      const local = await probe.stream.call(`full-${policy}`, "ping");
      const fresh = await openTestStream(probe.owner.url);
      const worked = await fresh.initialize().then(
        () => "works",
        (error: Error) => error.message,
      );
      fresh.cut();
      await db?.config("SET", "maxmemory", "0");
      // 202: its owner's lease was evicted, so the other instance has taken it for dead.
      const recoveryMs = await probe.recovery([503, 202]);
      const isTaken = (await probe.post(probe.other)).status === 202;
      note(
        `${store} full, ${policy} (FLT-07, 08)`,
        policy === "noeviction"
          ? "old sessions live, new ones work on their instance; back within 5 s"
          : "none: a store that evicts is unfit, since an evicted lease looks like a death",
        `old session ${local.result === undefined ? "broken" : "works"}, new one ${worked}; back after ${ms(recoveryMs)}` +
          (isTaken ? "; another instance had taken the old one over" : ""),
        recoveryMs < 5000 && (policy !== "noeviction" || !isTaken),
      );
      expect(local.result).toBeDefined();
      if (policy === "noeviction") expect(isTaken).toBe(false);
    }
  });
});

test("FLT-10: what Upstash may answer becomes 503, and neither its words nor the token are told", async () => {
  const probe = await openProbe({ store: "upstash" });
  const upstash = probe.cluster.upstash;
  const html = "<html><body>502 Bad Gateway secret-words</body></html>";
  const bodies: [string, Parameters<NonNullable<typeof upstash>["fail"]>[0]][] = [
    ["401", () => ({ kind: "answer", status: 401, body: '{"error":"secret-words"}' })],
    ["429", () => ({ kind: "answer", status: 429, body: '{"error":"secret-words"}' })],
    ["HTML 502", () => ({ kind: "answer", status: 502, body: html, contentType: "text/html" })],
    ["truncated JSON", () => ({ kind: "truncate" })],
    ["no answer", () => ({ kind: "hang", executed: false })],
    ["dropped", () => ({ kind: "drop", executed: true })],
    // The last, because a used-up quota is not asked after for a minute.
    [
      "quota",
      () => ({
        kind: "answer",
        status: 400,
        body: '{"error":"ERR max requests limit exceeded. secret-words"}',
      }),
    ],
  ];
  const seen: string[] = [];
  let holds = true;
  for (const [name, fault] of bodies) {
    upstash?.fail(fault);
    const answer = await probe.post(probe.other, "nobody");
    const local = await probe.post(probe.owner);
    upstash?.heal();
    seen.push(`${name} ${answer.status} in ${ms(answer.tookMs)}`);
    if (name !== "quota") await probe.recovery([503]);
    holds &&= answer.status === 503 && local.status === 202 && !answer.text.includes("secret-words");
  }
  const logs = probe.cluster.gateways.map((gateway) => gateway.stdout() + gateway.stderr()).join("");
  holds &&= !logs.includes(upstash?.token ?? "?") && !logs.includes("secret-words");
  note(
    "Upstash answers 401, 429, its quota's end, HTML, half an answer (FLT-10)",
    "503, nothing told",
    seen.join(", "),
    holds,
  );
  expect(holds).toBe(true);
});
