import type { WatchedClient } from "../support/cluster-client.ts";
import type { Outcome } from "../support/history.ts";

export interface LoadOptions {
  random: () => number;
  /** Calls that each client has under way. */
  concurrency?: number;
  /** Between one call's end and the next. */
  pauseMs?: number;
  /** Limit of one call. Shorter than an SDK's own, or a lost call would hold a story up. */
  callMs?: number;
  /** Only this tool, instead of all by chance. */
  tool?: string;
  /** Whether the server asks the client something now and then. */
  asks?: boolean;
}

export interface Load {
  /** Lets each call that is under way end, and begins no more. */
  stop(): Promise<void>;
}

/** What a call that was refused at once waits, so that a broken gateway is not called in a tight loop. */
const AFTER_FAILURE_MS = 50;

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Lets all clients call until it is stopped. */
export function startLoad(clients: readonly WatchedClient[], options: LoadOptions): Load {
  const { random, concurrency = 3, pauseMs = 10, callMs = 20_000, tool, asks = true } = options;
  let isOver = false;

  async function lane(client: WatchedClient): Promise<void> {
    // Not all at the same moment.
    await wait(random() * pauseMs);
    while (!isOver) {
      const [name, given] = tool === undefined ? draw(random, asks) : [tool, {}];
      const outcome: Outcome = await client.call(name, given, callMs);
      await wait(outcome.kind === "result" ? pauseMs : Math.max(pauseMs, AFTER_FAILURE_MS));
    }
  }
  const lanes = clients.flatMap((client) => Array.from({ length: concurrency }, () => lane(client)));
  return {
    stop: async () => {
      isOver = true;
      await Promise.all(lanes);
    },
  };
}

function draw(random: () => number, asks: boolean): [string, Record<string, unknown>] {
  const dice = random();
  if (dice < 0.45) return ["add", {}];
  if (dice < 0.6) return ["slow", { ms: Math.floor(random() * 400) }];
  if (dice < 0.75) return ["notify", { n: 1 + Math.floor(random() * 5) }];
  if (dice < 0.85 && asks) return ["ask", { what: random() < 0.5 ? "sampling" : "roots" }];
  return ["peek", {}];
}

export { wait };
