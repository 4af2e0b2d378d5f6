import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import type { SpawnedGateway } from "../support/spawn-gateway.ts";
import { knock, startKeysStage, type KeysStage, type Knock } from "./keys-stage.ts";

const LIMIT = 10;
const LIMIT_MS = 10_000;
const SEATS = "mcp:caller:";

describe("the sessions of one caller on three instances", () => {
  let stage: KeysStage;
  beforeAll(async () => {
    stage = await startKeysStage(3, { MAX_SESSIONS_PER_KEY: String(LIMIT) });
  });
  afterAll(() => stage?.close());

  const at = (index: number) => stage.gateways[index % 3] as SpawnedGateway;
  const isIn = ({ status }: Knock) => status === 200;
  const connect = ({ url }: SpawnedGateway, key: string) => knock(url, key);
  /** Opens so many at once, spread over the instances. */
  const storm = (count: number, key: string) =>
    Promise.all(Array.from({ length: count }, (_, index) => connect(at(index), key)));
  const seatsOf = (caller: string) => stage.db.hlen(`${SEATS}${caller}`);

  async function expectTooMany(answer: Knock): Promise<void> {
    expect(answer.status).toBe(429);
    expect(JSON.parse(await answer.ended)).toMatchObject({ reason: "too_many_sessions" });
    expect(Number(answer.headers["retry-after"])).toBeGreaterThan(0);
  }

  test("are as many as its limit when 120 clients come at once: these stay, and the others are told to wait", async () => {
    const { key } = await stage.write({ name: "storm" });
    const began = performance.now();
    const answers = await storm(120, key);
    const tookMs = Math.round(performance.now() - began);
    const open = answers.filter(isIn);
    const perInstance = [0, 1, 2].map((one) => answers.filter((_, index) => index % 3 === one).filter(isIn));
    process.stderr.write(
      `storm of 120: ${open.length} in (${perInstance.map(({ length }) => length).join(" ")}) in ${tookMs} ms\n`,
    );
    expect(open).toHaveLength(LIMIT);
    let left = 0;
    for (const { ended } of open) void ended.then(() => (left += 1));
    for (const answer of answers) if (!isIn(answer)) await expectTooMany(answer);
    await eventually(async () => expect(await seatsOf("storm")).toBe(LIMIT), LIMIT_MS);
    for (const index of [0, 1, 2]) await expectTooMany(await connect(at(index), key));
    expect(left).toBe(0);
  });

  test("leave a seat that one may take on another instance", async () => {
    const { key } = await stage.write({ name: "leaving", maxSessions: 2 });
    const [first] = [await connect(at(0), key), await connect(at(0), key)];
    await expectTooMany(await connect(at(1), key));
    first.cut();
    await eventually(async () => expect(await seatsOf("leaving")).toBe(1), LIMIT_MS);
    expect((await connect(at(2), key)).status).toBe(200);
    await expectTooMany(await connect(at(1), key));
  });

  test("have the limit that the keys file gives their caller, above that of the settings and below it", async () => {
    const many = await stage.write({ name: "many", maxSessions: LIMIT + 5 });
    const few = await stage.write({ name: "few", maxSessions: 3 });
    expect((await storm(30, many.key)).filter(isIn)).toHaveLength(LIMIT + 5);
    expect((await storm(30, few.key)).filter(isIn)).toHaveLength(3);
  });

  test("cost three commands for a seat that is taken, and one for a seat that is left", async () => {
    const { key } = await stage.write({ name: "costly" });
    const monitor = await stage.db.duplicate().monitor();
    onTestFinished(() => monitor.disconnect());
    const commands: string[] = [];
    monitor.on("monitor", (_time: string, [name = "", target = ""]: string[]) => {
      if (target === `${SEATS}costly`) commands.push(name);
    });
    const answer = await connect(at(0), key);
    expect(commands.splice(0)).toEqual(["hset", "expire", "hlen"]);
    answer.cut();
    await eventually(() => expect(commands).toEqual(["hdel"]), LIMIT_MS);
  });

  test("keep their seats when their instance is killed, until its lease is gone", async () => {
    const { key } = await stage.write({ name: "killed" });
    const doomed = await stage.spawn();
    onTestFinished(() => doomed.end());
    const there = await Promise.all(Array.from({ length: 6 }, () => connect(doomed, key)));
    const here = await Promise.all(Array.from({ length: 4 }, () => connect(at(0), key)));
    expect([...there, ...here].every(isIn)).toBe(true);
    const lease = `mcp:instance:${doomed.instanceId}`;
    await eventually(async () => expect(await stage.db.exists(lease)).toBe(1), LIMIT_MS);
    doomed.signal("SIGKILL");
    await doomed.exited;
    for (let more = 0; more < 5; more += 1) await expectTooMany(await connect(at(0), key));
    expect(await seatsOf("killed")).toBe(LIMIT);
    await stage.db.pexpire(lease, 1);
    await eventually(async () => expect(await stage.db.exists(lease)).toBe(0), LIMIT_MS);
    const later = await Promise.all(
      Array.from({ length: 20 }, (_, index) => connect(at(1 + (index % 2)), key)),
    );
    // Of those that came before the index was put right some may have been told to wait.
    const began = performance.now();
    const open = later.filter(isIn);
    await eventually(async () => {
      const answer = await connect(at(1), key);
      if (isIn(answer)) open.push(answer);
      return !isIn(answer) && open.length >= 6;
    }, LIMIT_MS);
    process.stderr.write(
      `after a kill: ${later.filter(isIn).length} of 6 seats at once, all after ${Math.round(performance.now() - began)} ms\n`,
    );
    expect(open).toHaveLength(6);
    await eventually(async () => expect(await seatsOf("killed")).toBe(LIMIT), LIMIT_MS);
  });

  test("are counted by each instance alone while Redis is away", async () => {
    const { key } = await stage.write({ name: "alone", maxSessions: 2 });
    stage.redis.pause?.();
    onTestFinished(() => stage.redis.resume?.());
    const answers = await storm(12, key);
    const perInstance = [0, 1, 2].map((one) => answers.filter((_, index) => index % 3 === one));
    for (const own of perInstance) {
      expect(own.filter(isIn)).toHaveLength(2);
      for (const answer of own) if (!isIn(answer)) await expectTooMany(answer);
    }
  });
});
