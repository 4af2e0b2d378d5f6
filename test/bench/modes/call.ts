import { callTable } from "./call-table.ts";
import type { Memory } from "../cpu.ts";
import type { Counted } from "../load/orders.ts";
import type { Mode, Options, Run } from "../mode.ts";
import type { Target } from "../target.ts";
import { planOf, withLoad } from "../with-load.ts";

/** Above this the generator is the limit, and rate and latency are its own. */
const GENERATOR_LIMIT = 0.9;

export interface CallRun extends Run, Counted {
  cpuSource: string;
  cpuMsPerCall: number;
  callsPerSecond: number;
  /** Share of its core that the tree had; much under 0.9 under saturation says that something else ran. */
  serverShare: number;
  isValid: boolean;
  before: Memory;
  after: Memory;
}

/** Round trips: what a call costs the whole tree of the server. */
export const CALL: Mode<CallRun> = {
  name: "call",
  about: "round trips: CPU of the server's tree, rate and latency",
  targets: ["sse-echo", "sse-bridge", "sse-bridge-shared", "express-echo", "gateway", "gateway-shared"],
  run: runCalls,
  table: (runs, { against }) => callTable(runs, against),
};

/** One run: a fresh server, all sessions opened, warmed up, then counted. */
async function runCalls(target: Target, round: number, options: Options): Promise<CallRun> {
  const { result, leftovers } = await withLoad(target, [], async ({ port, account }, load) => {
    const before = account.memory();
    const plan = planOf(target, port, options);
    const opened = await load.open(plan, options.sessions);
    if (opened.failed > 0) throw new Error(`${opened.failed} sessions did not open: ${opened.firstFailure}`);
    await load.warmUp(options.warmUpSeconds, options.warmUpCalls);
    const cpuBefore = account.cpuSeconds();
    const counted = await load.count(options.seconds);
    const cpuSeconds = account.cpuSeconds() - cpuBefore;
    const answered = counted.right + counted.wrongSession;
    return {
      ...counted,
      target: target.name,
      round,
      cpuSource: account.source,
      cpuMsPerCall: (cpuSeconds * 1000) / answered,
      callsPerSecond: counted.right / counted.seconds,
      serverShare: cpuSeconds / counted.seconds,
      isValid: counted.generatorShare <= GENERATOR_LIMIT,
      before,
      after: account.memory(),
    };
  });
  return { ...result, leftovers };
}
