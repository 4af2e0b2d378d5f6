import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { SwitchStep } from "../../src/session-store/switch.ts";
import type { WatchedClient } from "../support/cluster-client.ts";
import { eventually } from "../support/eventually.ts";
import { spawnGateway, type SpawnedGateway } from "../support/spawn-gateway.ts";
import { answerOf, PRIMED, sendTo } from "../support/streamable-client.ts";
import { ms, openFigures, sized } from "./figures.ts";
import { storeOf } from "./health-watch.ts";
import { wait } from "./load.ts";
import { keepBusy, keepComing, keepCutting, wrongCalls } from "./migrate-busy.ts";
import { finish, LIVE, startMigrate, stopAt, verify, type Move } from "./migrate-command.ts";
import { forEach, openQuiet } from "./migrate-quiet.ts";
import {
  astray,
  behindOf,
  countKinds,
  expiryGapMs,
  ghostsOf,
  processed,
  recordsOf,
} from "./migrate-records.ts";
import { startSource, startStandIn } from "./migrate-stand-in.ts";
import { idsByClient } from "./owners.ts";
import { openRaw } from "./raw-session.ts";
import { setStage } from "./stage.ts";

const note = openFigures("9d Moving to another store");
const SESSIONS = sized(300, 5000);
const BUSY = sized(20, 100);
const STOPS: [SwitchStep, "SIGINT" | "SIGKILL"][] = sized(
  [["backfill", "SIGINT"]],
  [
    ["backfill", "SIGINT"],
    ["verify", "SIGKILL"],
    ["pivot", "SIGINT"],
    ["verify-pivot", "SIGINT"],
    ["to", "SIGKILL"],
  ],
);
/** Moved sessions that are used once more. */
const GO_ON = 50;
const WITHOUT_LIMIT = { MAX_SESSIONS: "100000", MAX_SESSIONS_PER_KEY: "100000" };

/** Starts the real program before its built-in server, and waits until it is ready. */
async function start(env: Record<string, string>): Promise<SpawnedGateway> {
  const gateway = await spawnGateway({ env: { ...WITHOUT_LIMIT, DRAIN_SECONDS: "10", ...env } });
  onTestFinished(() => gateway.end());
  await eventually(async () => (await fetch(`${gateway.url}/health/ready`)).status === 200, 20_000);
  return gateway;
}

const each = (commands: number, records: number): string => (commands / records).toFixed(1);
const say = (what: string, found: readonly string[]): void => {
  if (found.length > 0) process.stderr.write(`${what}: ${found.length}\n${found.slice(0, 20).join("\n")}\n`);
};

test("sessions are moved while three gateways serve, and the move is interrupted", async () => {
  const stage = await setStage({ instances: 0, store: "memory" });
  const { connect, history, random } = stage;
  const { front } = stage.cluster;
  const { redis, db } = await startSource([]);
  const standIn = await startStandIn();
  const move: Move = { from: redis.url, to: standIn.storeUrl };
  const common = {
    SESSION_RELAY: "on",
    SESSION_RELAY_DRIVER: "http",
    SESSION_RELAY_SECRET: "the same on all instances, 0123456789",
    TRUST_PROXY: "1",
  };
  const before = { ...common, REDIS_URL: redis.url, SESSION_MIRROR: standIn.storeUrl };
  const after = {
    ...common,
    UPSTASH_REDIS_REST_URL: standIn.url,
    UPSTASH_REDIS_REST_TOKEN: standIn.token,
  };
  const gateways = [await start(before), await start(before), await start(before)];
  for (const { instanceId, port } of gateways) front.add({ name: instanceId, port });
  const living = (): SpawnedGateway[] =>
    gateways.filter(({ instanceId }) => front.rotation().some(({ name }) => name === instanceId));
  const elsewhere = (port: number): SpawnedGateway => {
    const others = living().filter((gateway) => gateway.port !== port);
    return others[Math.floor(random() * others.length)] as SpawnedGateway;
  };

  const clients: WatchedClient[] = [
    ...(await connect(BUSY / 2, { retryMs: 200 })),
    ...(await connect(BUSY / 2, { retryMs: 200, transport: "streamable" })),
  ];
  const openedFrom = Date.now();
  const quiet = await openQuiet(SESSIONS - BUSY, gateways, living);
  process.stderr.write(`${quiet.clients.length} quiet streams in ${ms(Date.now() - openedFrom)}\n`);
  const idOf = new Map([
    ...[...(await idsByClient(db))].filter(([name]) => name.startsWith("client-")),
    ...quiet.clients.map(({ name, sessionId }) => [name, sessionId] as const),
  ]);
  const names = [...clients, ...quiet.clients].map(({ name }) => name);
  expect(names.filter((name) => !idOf.has(name))).toEqual([]);

  // 1. The move, stopped and begun again.
  const busy = keepBusy(clients, { random, pauseMs: sized(200, 300), callMs: 20_000 });
  const cutting = keepCutting(front, sized(400, 200), random);
  const coming = keepComing(front.url, 150);
  await wait(sized(1000, 3000));
  const [billedBefore, movedFrom] = [await standIn.billed(), Date.now()];
  for (const [step, by] of STOPS) {
    const exit = await stopAt(move, step, by);
    expect(exit).toEqual(by === "SIGINT" ? { code: 130, signal: null } : { code: null, signal: "SIGKILL" });
  }
  const report = await finish(startMigrate(move, LIVE));
  const [billed, tookMs] = [(await standIn.billed()) - billedBefore, Date.now() - movedFrom];
  process.stderr.write(`the last run: ${JSON.stringify(report)}\n`);
  await wait(sized(1000, 5000));
  await Promise.all([coming.stop(), cutting.stop()]);
  await busy.stop();
  const { cuts } = front.counts();

  // 2. What the destination has, and whether every session is found through another instance.
  // Owners remove records of sessions that are over once a second.
  await eventually(async () => (await ghostsOf(standIn.db, coming.closed)).length === 0, 15_000).catch(
    () => undefined,
  );
  const [old, moved] = [await recordsOf(db), await recordsOf(standIn.db)];
  const kept = [...coming.kept];
  const ids = [...names.map((name) => idOf.get(name) as string), ...kept];
  const absent = ids.filter((id) => !moved.has(id));
  const stale = behindOf(old, moved).filter((id) => !coming.closed.has(id));
  const ghosts = await ghostsOf(standIn.db, coming.closed);
  const surplus = moved.size - (ids.length - absent.length) - ghosts.length;
  const unlevelled = [...busy.levels].flatMap(([name, level]) => {
    const { logLevel } = moved.get(idOf.get(name) ?? "") ?? {};
    return (logLevel as { level?: string } | undefined)?.level === level ? [] : [`${name}: ${level}`];
  });
  const unfound: string[] = [];
  await forEach(quiet.clients, async (client) => {
    const problem = await client.ping(elsewhere(client.port()));
    if (problem !== undefined) unfound.push(problem);
  });
  const { calls, wrong, repeated } = wrongCalls(history);
  const problems = [...busy.problems, ...coming.problems];
  const lost = { absent, stale, ghosts, unlevelled, unfound, back: [...quiet.lost()] };
  for (const [what, found] of Object.entries({ ...lost, wrong, problems })) say(what, found);
  const states = await Promise.all(gateways.map(({ url }) => storeOf(url)));
  process.stderr.write(`${JSON.stringify(states)}\n`);
  note(
    `migrate --live, Redis to the Upstash stand-in, ${SESSIONS} sessions, ${BUSY} of them busy, ` +
      `stopped in ${STOPS.map(([step, by]) => `${step} (${by})`).join(", ")}`,
    "0 lost, 0 twice, no client error; every session found through another instance",
    `${absent.length} of ${ids.length} sessions lost, ${ghosts.length + surplus} too many, ${stale.length + unlevelled.length} older at the destination; ` +
      `${calls} calls, ${wrong.length} not answered once with their own nonce, ${problems.length} other errors, ` +
      `${cuts} cuts, ${coming.opened()} sessions opened meanwhile and ${coming.closed.size} closed; ` +
      `${quiet.clients.length - unfound.length} of ${quiet.clients.length} found through another instance; ` +
      `${STOPS.length + 1} runs in ${(tookMs / 1000).toFixed(0)} s; the last one ${report.commands} commands for ${report.keys} keys, ` +
      `${report.commandsPerKey.toFixed(1)} a key, ${each(report.commands, ids.length)} a session, in ${report.seconds.toFixed(0)} s; ` +
      `on the bill of the stand-in for all runs and the gateways' own writes ${billed}, ${each(billed, ids.length)} a session`,
    [...Object.values(lost).flat(), ...wrong, ...problems].length + surplus === 0,
  );
  expect({ ...lost, wrong, problems, surplus }).toEqual({
    absent: [],
    stale: [],
    ghosts: [],
    unlevelled: [],
    unfound: [],
    back: [],
    wrong: [],
    problems: [],
    surplus: 0,
  });

  // 3. An instance that starts with the settings of before asks the destination all the same.
  const late = await start(before);
  const probe = quiet.clients[0] as (typeof quiet.clients)[number];
  await db.del(`mcp:session:${probe.sessionId}`);
  const throughLate = await probe.ping(late);
  const opened = await openRaw(late.url, "late");
  const lateIsThere = (await recordsOf(standIn.db)).has(opened);
  late.signal("SIGTERM");
  await late.exited;
  note(
    "a gateway started with the old settings after the move",
    "uses the destination",
    `a session that only the destination has ${throughLate === undefined ? "was found" : "was not found"}; ` +
      `a new one ${lateIsThere ? "is" : "is not"} at the destination`,
    throughLate === undefined && lateIsThere,
  );
  expect({ throughLate, lateIsThere }).toEqual({ throughLate: undefined, lateIsThere: true });

  // 4. The settings are changed one by one, and the old store goes.
  const restartedFrom = Date.now();
  const more = keepBusy(clients, { random, pauseMs: sized(200, 300), callMs: 20_000 });
  const returnsBefore = quiet.returns();
  for (const at of [0, 1, 2]) {
    const old = gateways[at] as SpawnedGateway;
    const next = await start(after);
    gateways[at] = next;
    front.add({ name: next.instanceId, port: next.port });
    front.remove(old.instanceId);
    old.signal("SIGTERM");
    expect(await old.exited).toEqual({ code: 0, signal: null });
    await quiet.settled();
    await wait(sized(300, 3000));
  }
  await redis.stop();
  await wait(sized(1000, 5000));
  await more.stop();
  const silent: string[] = [];
  await forEach(quiet.clients, async (client) => {
    const problem = await client.ping(elsewhere(client.port()));
    if (problem !== undefined) silent.push(problem);
  });
  const last = await recordsOf(standIn.db);
  const gone = astray(idOf, last);
  const restart = wrongCalls(history, restartedFrom);
  const failed = {
    gone,
    silent,
    back: [...quiet.lost()],
    wrong: restart.wrong,
    problems: [...more.problems],
  };
  for (const [what, found] of Object.entries(failed)) say(what, found);
  note(
    "then the three gateways restarted one by one with the destination as their store, and the old store stopped",
    "clients go on with their sessions, no call fails",
    `${gone.length} of ${names.length} clients have another session or two, ${quiet.returns() - returnsBefore} streams came back, ${failed.back.length} did not; ` +
      `${restart.calls} calls, ${restart.wrong.length} wrong, ${more.problems.length} other errors; ` +
      `${quiet.clients.length - silent.length} of ${quiet.clients.length} quiet sessions found through another instance; ` +
      `${repeated} answers came on the wire again after a cut`,
    Object.values(failed).flat().length === 0,
  );
  expect(failed).toEqual({ gone: [], silent: [], back: [], wrong: [], problems: [] });
}, 900_000);

test("the sessions of a stopped gateway are moved, and the move is interrupted", async () => {
  const { redis, db } = await startSource([]);
  const standIn = await startStandIn();
  const directory = await mkdtemp(join(tmpdir(), "migrate-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const gateway = await start({ REDIS_URL: redis.url });
  const names = Array.from({ length: SESSIONS }, (_, at) => `offline-${at}`);
  await forEach(names, async (name) => void (await openRaw(gateway.url, name)));
  gateway.signal("SIGTERM");
  await gateway.exited;

  const move: Move = { from: redis.url, to: standIn.storeUrl };
  const file = join(directory, "progress.json");
  const kinds = await countKinds(db);
  const keys = ["session", "client", "caller", "journal"].reduce((sum, kind) => sum + (kinds[kind] ?? 0), 0);
  const seen = async (): Promise<number> =>
    readFile(file, "utf8").then(
      (text) => (JSON.parse(text) as { counts: { seen: number } }).counts.seen,
      () => 0,
    );
  const [startedAt, askedBefore] = [Date.now(), await processed(db)];
  const more = ["--resume", file, "--batch", sized("20", "200")];
  const stops: string[] = [];
  for (const [share, by] of [
    [0.15, "SIGINT"],
    [0.35, "SIGKILL"],
    [0.55, "SIGINT"],
  ] as const) {
    const before = await seen();
    const program = startMigrate(move, more);
    await eventually(async () => (await seen()) > Math.max(share * keys, before), 60_000);
    program.signal(by);
    const { code, signal } = await program.exited;
    expect(signal ?? code).toBe(by === "SIGINT" ? 130 : "SIGKILL");
    stops.push(`${by} after ${await seen()}`);
  }
  const result = await finish<{
    seen: number;
    written: number;
    skipped: number;
    commands: { from: number; to: number };
  }>(startMigrate(move, more));
  const tookMs = Date.now() - startedAt;
  const asked = (await processed(db)) - askedBefore;
  const billed = await standIn.billed();
  const verified = await verify(move);
  const there = await countKinds(standIn.db);
  const [mine, theirs] = [await recordsOf(db), await recordsOf(standIn.db)];
  const missing = [...mine.keys()].filter((id) => !theirs.has(id));
  const gapMs = await expiryGapMs(standIn.db, db);
  process.stderr.write(
    `${JSON.stringify({ kinds, there, stops, result, asked, billed, verified, gapMs }, null, 1)}\n`,
  );
  const holds = missing.length === 0 && theirs.size === SESSIONS && verified.code === 0;
  note(
    `migrate of a stopped gateway's ${SESSIONS} sessions, Redis to the Upstash stand-in, interrupted three times`,
    "0 missing, 0 twice; verify finds no difference",
    `${missing.length} of ${mine.size} sessions missing, ${theirs.size - mine.size} too many, verify says ${verified.code}; ` +
      `${keys} keys, stopped by ${stops.join(", ")}; ${result.skipped} were met again and left alone; ` +
      `expiries differ by ${ms(gapMs)} at most; 4 runs in ${(tookMs / 1000).toFixed(1)} s; ` +
      `commands a key: ${each(asked, keys)} at Redis, ${each(billed, keys)} on the bill of the stand-in ` +
      `(${each(asked + billed, SESSIONS)} a session)`,
    holds,
  );
  expect({ missing, size: theirs.size, code: verified.code }).toEqual({
    missing: [],
    size: SESSIONS,
    code: 0,
  });

  // What is there is enough to go on with.
  const next = await start({ UPSTASH_REDIS_REST_URL: standIn.url, UPSTASH_REDIS_REST_TOKEN: standIn.token });
  const refused: string[] = [];
  await forEach([...mine.keys()].slice(0, GO_ON), async (id) => {
    const headers = { "mcp-session-id": id, "mcp-protocol-version": PRIMED };
    const answer = await sendTo(next.url, { headers, body: { jsonrpc: "2.0", id: 1, method: "ping" } });
    if (answer.status !== 200) refused.push(`${id}: ${answer.status} ${await answer.text()}`);
    else await answerOf(answer, 1);
  });
  expect(refused).toEqual([]);
}, 300_000);
