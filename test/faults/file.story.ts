import { join } from "node:path";
import { expect, test } from "vitest";
import { createLog } from "../../src/log.ts";
import { readFileArchive } from "../../src/session-store/file-archive.ts";
import type { WatchedClient } from "../support/cluster-client.ts";
import type { CallRecord, Outcome } from "../support/history.ts";
import { freePort } from "../support/redis-server.ts";
import { runProgram, type SpawnedGateway } from "../support/spawn-gateway.ts";
import { KEY } from "../support/start-gateway.ts";
import { ms, openFigures, percentile, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { idsOf } from "./owners.ts";
import { setOwnStage } from "./own-gateways.ts";

const note = openFigures("8b The file store: a gateway that is killed");
/** A client that does not work by then is broken. */
const GIVE_UP_MS = 15_000;
const ROUNDS = sized(1, 3);
const HALF = sized(3, 6);
const log = createLog("silent");

/** From now to the end of a call that works, in ms. The client calls anew until one does. */
async function recoveryMs(client: WatchedClient): Promise<number> {
  const from = Date.now();
  while (Date.now() - from < GIVE_UP_MS) {
    const { kind } = await client.call("add", {}, 3000);
    if (kind === "result") return Date.now() - from;
    await wait(20);
  }
  return Infinity;
}

const isAnswerLost = (outcome: Outcome) => outcome.kind === "error" && outcome.reason === "answer_lost";

/** Nobody listened, or the connection broke under the request. */
const isBroken = (outcome: Outcome) => outcome.kind === "refused" && outcome.status === 0;

test.each(sized(["store"], ["off", "store"]))(
  "a gateway with SESSION_STORE=file is killed and started again: its clients come back to their sessions (SESSION_DURABILITY=%s)",
  async (durability) => {
    const stage = await setOwnStage();
    const { connect, judge, history, random } = stage;
    const directory = join(stage.directory, "sessions");
    const env = { SESSION_STORE: "file", SESSION_DIR: directory, SESSION_DURABILITY: durability };
    const port = await freePort();
    const idsNow = async () => {
      const archive = await readFileArchive(directory, log);
      try {
        return await idsOf(archive);
      } finally {
        await archive.close();
      }
    };
    let gateway: SpawnedGateway = await stage.start(env, port);
    const baseUrl = gateway.url;
    const sse = await connect(HALF, { baseUrl });
    const clients = [...sse, ...(await connect(HALF, { baseUrl, transport: "streamable" }))];

    const second = await runProgram({
      env: { ...env, HOST: "127.0.0.1", MCP_API_KEY: KEY },
      args: ["--port", "0"],
    });
    note(
      "a second gateway on the same directory",
      "refused with exit code 2, in plain words",
      `exit code ${second.code}: ${second.stderr.trim().replaceAll(/\s+/g, " ")}`.replaceAll(
        directory,
        "DIR",
      ),
      second.code === 2 && /SESSION_DIR/.test(second.stderr),
    );
    expect(second.code).toBe(2);

    const before = await idsNow();
    const load = startLoad(clients, { random, concurrency: 2, pauseMs: 20, callMs: 8000 });
    const killedAt: number[] = [];
    const backAt: number[] = [];
    const recoveries: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      await wait(sized(700, 3000));
      killedAt.push(Date.now());
      gateway.signal("SIGKILL");
      await gateway.exited;
      gateway = await stage.start(env, port);
      backAt.push(Date.now());
      recoveries.push(...(await Promise.all(clients.map(recoveryMs))));
    }
    await wait(sized(300, 3000));
    await load.stop();
    const kept = await idsNow();
    const lost = clients.filter(({ name }) => kept.get(name) !== before.get(name)).map(({ name }) => name);

    // A restart as a deploy does it.
    const restart = startLoad(clients, { random, concurrency: 1, pauseMs: 20, callMs: 8000 });
    await wait(sized(300, 1000));
    const termAt = Date.now();
    gateway.signal("SIGTERM");
    const exit = await gateway.exited;
    await stage.start(env, port);
    const upAt = Date.now();
    await Promise.all(clients.map(recoveryMs));
    await restart.stop();
    const after = await idsNow();
    const lostAtTerm = clients
      .filter(({ name }) => after.get(name) !== before.get(name))
      .map(({ name }) => name);

    const isHitBy = ({ startedAt, endedAt = Infinity }: CallRecord, from: number, until: number) =>
      startedAt <= until && endedAt >= from;
    /** Clients find out a little later that it is back. */
    const wasDown = (call: CallRecord) =>
      [...killedAt, termAt].some((at, round) => isHitBy(call, at, ([...backAt, upAt][round] ?? 0) + 2000));
    const hit = (call: CallRecord) => killedAt.some((at, round) => isHitBy(call, at, backAt[round] ?? 0));
    /** There is no other instance that would take what comes while the only one drains. */
    const cameTooLate = ({ startedAt }: CallRecord) => startedAt >= termAt && startedAt <= upAt;
    const answerWasInside = ({ tool, client, startedAt, endedAt = Infinity }: CallRecord) =>
      tool === "ask" &&
      history.client(client).failedAnswers.some(({ at }) => at >= startedAt && at <= endedAt);
    const names = new Set(clients.map(({ name }) => name));
    const { violations, summary } = judge({
      crashes: killedAt.map((at) => ({ at, clients: names })),
      mayFail: (call, outcome) =>
        (wasDown(call) && isBroken(outcome)) ||
        (isAnswerLost(outcome) && (hit(call) || cameTooLate(call))) ||
        (outcome.kind === "refused" && outcome.status === 503 && cameTooLate(call)),
      mayTimeOut: (call) => answerWasInside(call) || (durability === "off" && hit(call)),
    });
    const calls = [...history.clients.values()].flatMap((client) => client.calls);
    const count = (fits: (call: CallRecord, outcome: Outcome) => boolean) =>
      calls.filter((call) => call.outcomes[0] !== undefined && fits(call, call.outcomes[0])).length;
    const failedAtTerm = count(
      (call, { kind }) =>
        kind !== "result" && call.startedAt < termAt && (call.endedAt ?? Infinity) >= termAt,
    );
    const tooLate = count((call, outcome) => cameTooLate(call) && isAnswerLost(outcome));
    const slowest = Math.max(...recoveries);
    const holds = violations().length === 0 && lost.length === 0 && slowest < 6000;
    note(
      `${ROUNDS} × kill -9 under load of ${clients.length} clients, started again, SESSION_DURABILITY=${durability}`,
      durability === "store"
        ? "every session goes on under its id; at most one retryable error a call in flight; nothing acknowledged lost"
        : "every session goes on under its id; at most one retryable error a call in flight",
      `${lost.length} sessions lost; works ${ms(percentile(recoveries, 0.5))} after the gateway is back (slowest ${ms(slowest)}); ` +
        `of ${summary.calls} calls ${summary.errors} with a retryable error (${count((_, outcome) => isAnswerLost(outcome))} answer_lost), ` +
        `${summary.refused} while nobody listened, ${summary.lost} without an answer, ${summary.repeatedExecutions} carried out twice`,
      holds,
    );
    note(
      `SIGTERM under load and started again, SESSION_DURABILITY=${durability}`,
      "0 calls in flight fail, 0 sessions lost",
      `exit code ${exit.code}, ${failedAtTerm} calls in flight failed, ${tooLate} that came later answer_lost, ${lostAtTerm.length} sessions lost, back after ${ms(upAt - termAt)}`,
      failedAtTerm === 0 && lostAtTerm.length === 0 && exit.code === 0,
    );
    expect({ violations: violations(), lost, lostAtTerm, failedAtTerm }).toEqual({
      violations: [],
      lost: [],
      lostAtTerm: [],
      failedAtTerm: 0,
    });
    expect(exit.code).toBe(0);
    expect(slowest).toBeLessThan(GIVE_UP_MS);
  },
  240_000,
);
