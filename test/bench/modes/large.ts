import { figure, median, table } from "../figures.ts";
import type { Counted } from "../load/orders.ts";
import type { Mode, Options, Run } from "../mode.ts";
import { byTarget, middle, ratiosWithinRounds, spread, total } from "../ratios.ts";
import type { Target } from "../target.ts";
import { type Blocked, makeWatchable } from "../watch-blocked.ts";
import { planOf, withLoad } from "../with-load.ts";

/** Above this the generator is the limit. */
const GENERATOR_LIMIT = 0.9;

interface LargeRun extends Run, Counted, Blocked {
  megabytesPerSecond: number;
  cpuMsPerMegabyte: number;
  /** Share of its core that the tree had. */
  serverShare: number;
}

/** Small calls for large results. */
export const LARGE: Mode<LargeRun> = {
  name: "large",
  about: "results of 1 MB: rate, CPU per MB, and how long the event loop is blocked",
  targets: ["sse-bridge", "gateway"],
  defaults: { sessions: 4, inFlight: 1, bytes: 1_000_000 },
  run: runLarge,
  table: largeTable,
};

/** One run: counted first with nothing in the server's way, then watched under the same load for as long. */
async function runLarge(target: Target, round: number, options: Options): Promise<LargeRun> {
  const watchable = makeWatchable(target);
  try {
    const { result, leftovers } = await withLoad(
      watchable.target,
      watchable.nodeOptions,
      async ({ pid, port, account }, load) => {
        const opened = await load.open(planOf(target, port, options), options.sessions);
        if (opened.failed > 0)
          throw new Error(`${opened.failed} sessions did not open: ${opened.firstFailure}`);
        await load.warmUp(options.warmUpSeconds, options.warmUpCalls);
        const cpuBefore = account.cpuSeconds();
        const counted = await load.count(options.seconds);
        const cpuSeconds = account.cpuSeconds() - cpuBefore;
        if (counted.right === 0) throw new Error(`no right answer in ${options.seconds} s`);
        const megabytes = (counted.right * options.bytes) / 1e6;
        const [blocked] = await Promise.all([
          watchable.watch(pid, options.seconds),
          load.count(options.seconds),
        ]);
        return {
          ...counted,
          ...blocked,
          megabytesPerSecond: megabytes / counted.seconds,
          cpuMsPerMegabyte: (cpuSeconds * 1000) / megabytes,
          serverShare: cpuSeconds / counted.seconds,
        };
      },
    );
    return { target: target.name, round, ...result, leftovers };
  } finally {
    watchable.close();
  }
}

function largeTable(runs: readonly LargeRun[], { against }: Options): string {
  const head = ["target", "MB/s", "x base", "its rounds", "CPU ms/MB", "x base", "server share"];
  const blocks = ["blocked max ms", "its rounds", "p99 ms", "gap max ms", "p99 ms"];
  const rows = byTarget(runs).map(({ name, own }) => {
    const rates = ratiosWithinRounds(runs, name, against, (run) => run.megabytesPerSecond);
    const cpu = ratiosWithinRounds(runs, name, against, (run) => run.cpuMsPerMegabyte);
    const full = own.filter(({ generatorShare }) => generatorShare > GENERATOR_LIMIT).length;
    const share = middle(own, (run) => run.generatorShare);
    return [
      name,
      middle(own, (run) => run.megabytesPerSecond),
      figure(median(rates)),
      spread(rates),
      middle(own, (run) => run.cpuMsPerMegabyte),
      figure(median(cpu)),
      middle(own, (run) => run.serverShare),
      middle(own, (run) => run.blocked.maxMs),
      spread(own.map((run) => run.blocked.maxMs)),
      middle(own, (run) => run.blocked.p99Ms),
      middle(own, (run) => run.gap.maxMs),
      middle(own, (run) => run.gap.p99Ms),
      full === 0 ? share : `${share} (${full} invalid)`,
      total(own, (run) => run.wrongSession),
      total(own, (run) => run.errors),
    ];
  });
  return table([...head, ...blocks, "generator share", "wrong", "errors"], rows);
}
