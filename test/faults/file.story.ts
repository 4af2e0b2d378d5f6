import { join } from "node:path";
import { expect, test } from "vitest";
import { createLog } from "../../src/log.ts";
import { readFileArchive } from "../../src/session-store/file-archive.ts";
import type { WatchedClient } from "../support/cluster-client.ts";
import type { CallRecord, History, Outcome } from "../support/history.ts";
import { freePort } from "../support/redis-server.ts";
import { runProgram } from "../support/spawn-gateway.ts";
import { KEY } from "../support/start-gateway.ts";
import { form, ms, openFigures, percentile, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { idsOf } from "./owners.ts";
import { setOwnStage } from "./own-gateways.ts";

const note = openFigures("8b The file store: a gateway that is killed");
/** A client that does not work by then is broken. */
const GIVE_UP_MS = 15_000;
const ROUNDS = sized(1, 3);
const HALF = sized(2, 6);
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

/** One gateway on a directory, and clients of both kinds that speak to it without a proxy between. */
async function setDirectory(durability: "off" | "store") {
  const stage = await setOwnStage();
  const directory = join(stage.directory, "sessions");
  const env = { SESSION_STORE: "file", SESSION_DIR: directory, SESSION_DURABILITY: durability };
  const port = await freePort();
  const start = () => stage.start(env, port);
  const gateway = await start();
  const sse = await stage.connect(HALF, { baseUrl: gateway.url });
  const streamable = await stage.connect(HALF, { baseUrl: gateway.url, transport: "streamable" });
  /** The id of each client's session. */
  const idsNow = async () => {
    const archive = await readFileArchive(directory, log);
    try {
      return await idsOf(archive);
    } finally {
      await archive.close();
    }
  };
  return { ...stage, env, directory, start, gateway, clients: [...sse, ...streamable], idsNow };
}

const isHitBy = ({ startedAt, endedAt = Infinity }: CallRecord, from: number, until: number) =>
  startedAt <= until && endedAt >= from;

/** An answer of the client to its server was under way: no SDK sends it again, so the server waits in vain. */
const answerWasInside =
  (history: History) =>
  ({ tool, client, startedAt, endedAt = Infinity }: CallRecord): boolean =>
    tool === "ask" && history.client(client).failedAnswers.some(({ at }) => at >= startedAt && at <= endedAt);

const counter =
  (history: History) =>
  (fits: (call: CallRecord, outcome: Outcome) => boolean): number =>
    [...history.clients.values()]
      .flatMap(({ calls }) => calls)
      .filter((call) => call.outcomes[0] !== undefined && fits(call, call.outcomes[0])).length;

test.each(sized(["store"] as const, ["off", "store"] as const))(
  "a gateway with SESSION_STORE=file is killed and started again: its clients come back to their sessions (SESSION_DURABILITY=%s)",
  async (durability) => {
    const { clients, idsNow, judge, history, random, start, ...place } = await setDirectory(durability);
    const second = await runProgram({
      env: { ...place.env, HOST: "127.0.0.1", MCP_API_KEY: KEY },
      args: ["--port", "0"],
    });
    const words = second.stderr.trim().replaceAll(/\s+/g, " ");
    note(
      "a second gateway on the same directory",
      "refused with exit code 2, in plain words",
      `exit code ${second.code}: ${words.replace(/process id \d+/, "process id N")}`,
      second.code === 2 && words.includes("SESSION_DIR"),
    );
    expect(second.code).toBe(2);

    const before = await idsNow();
    const load = startLoad(clients, { random, concurrency: 2, pauseMs: 20, callMs: 8000 });
    const kills: { at: number; backAt: number }[] = [];
    const recoveries: number[] = [];
    let { gateway } = place;
    for (let round = 0; round < ROUNDS; round += 1) {
      await wait(sized(500, 3000));
      const at = Date.now();
      gateway.signal("SIGKILL");
      await gateway.exited;
      gateway = await start();
      kills.push({ at, backAt: Date.now() });
      recoveries.push(...(await Promise.all(clients.map(recoveryMs))));
    }
    await wait(sized(200, 3000));
    await load.stop();
    const after = await idsNow();
    const lost = clients.map(({ name }) => name).filter((name) => after.get(name) !== before.get(name));

    const isHit = (call: CallRecord) => kills.some(({ at, backAt }) => isHitBy(call, at, backAt));
    /** Clients find out a little later that it is back. */
    const wasDown = (call: CallRecord) => kills.some(({ at, backAt }) => isHitBy(call, at, backAt + 2000));
    const wasAnswerInside = answerWasInside(history);
    const names = new Set(clients.map(({ name }) => name));
    const { violations, summary } = judge({
      crashes: kills.map(({ at }) => ({ at, clients: names })),
      mayFail: (call, outcome) =>
        (isBroken(outcome) && wasDown(call)) || (isAnswerLost(outcome) && isHit(call)),
      mayTimeOut: (call) => wasAnswerInside(call) || (durability === "off" && isHit(call)),
    });
    const slowest = Math.max(...recoveries);
    note(
      `${ROUNDS} × kill -9 under load of ${clients.length} clients, started again, SESSION_DURABILITY=${durability}`,
      "every session goes on under its id; at most one retryable error a call in flight" +
        (durability === "store" ? "; nothing acknowledged lost" : ""),
      `${lost.length} sessions lost; works ${ms(percentile(recoveries, 0.5))} after the gateway is back (slowest ${ms(slowest)}); ` +
        `of ${summary.calls} calls ${summary.errors} with a retryable error (${counter(history)((_, outcome) => isAnswerLost(outcome))} answer_lost), ` +
        `${summary.refused} while nobody listened, ${summary.lost} without an answer, ${summary.repeatedExecutions} carried out twice`,
      violations().length === 0 && lost.length === 0 && slowest < 6000,
    );
    expect({ violations: violations(), lost }).toEqual({ violations: [], lost: [] });
    expect(slowest).toBeLessThan(GIVE_UP_MS);
  },
  240_000,
);

test.runIf(form === "full").each(["off", "store"] as const)(
  "a gateway with SESSION_STORE=file ends by SIGTERM and is started again: nothing in flight fails (SESSION_DURABILITY=%s)",
  async (durability) => {
    const { clients, idsNow, judge, history, random, start, gateway } = await setDirectory(durability);
    const before = await idsNow();
    const load = startLoad(clients, { random, concurrency: 1, pauseMs: 20, callMs: 8000 });
    await wait(1000);
    const at = Date.now();
    gateway.signal("SIGTERM");
    const exit = await gateway.exited;
    await start();
    const backAt = Date.now();
    await Promise.all(clients.map(recoveryMs));
    await load.stop();
    const after = await idsNow();
    const lost = clients.map(({ name }) => name).filter((name) => after.get(name) !== before.get(name));

    /** There is no other instance that would take what comes while the only one drains. */
    const cameTooLate = ({ startedAt }: CallRecord) => startedAt >= at && startedAt <= backAt + 2000;
    const { violations, summary } = judge({
      mayFail: (call, outcome) =>
        cameTooLate(call) &&
        (isBroken(outcome) ||
          isAnswerLost(outcome) ||
          (outcome.kind === "refused" && outcome.status === 503)),
      mayTimeOut: answerWasInside(history),
    });
    const count = counter(history);
    const tooLate = count((call, outcome) => cameTooLate(call) && isAnswerLost(outcome));
    note(
      `SIGTERM under load of ${clients.length} clients and started again, SESSION_DURABILITY=${durability}`,
      "0 calls in flight fail, 0 sessions lost",
      `exit code ${exit.code}, ${violations().length} calls in flight failed, ${lost.length} sessions lost, back after ${ms(backAt - at)}; ` +
        `of calls that came meanwhile ${summary.refused} refused, ${tooLate} answer_lost, ${summary.lost} without an answer`,
      violations().length === 0 && lost.length === 0 && exit.code === 0,
    );
    expect({ violations: violations(), lost, code: exit.code }).toEqual({
      violations: [],
      lost: [],
      code: 0,
    });
  },
  120_000,
);
