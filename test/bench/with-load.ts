import type { LoadPlan } from "./load/orders.ts";
import type { Options } from "./mode.ts";
import { Load } from "./run-load.ts";
import { type Server, startTarget } from "./start-target.ts";
import type { Target } from "./target.ts";

let current: Load | undefined;
const interruption = new AbortController();

/** Starts a fresh server and a fresh generator for one run, and ends both whatever happens. */
export async function withLoad<Result>(
  target: Target,
  nodeOptions: readonly string[],
  run: (server: Server, load: Load) => Promise<Result>,
): Promise<{ result: Result; leftovers: string[] }> {
  const server = await startTarget(target, nodeOptions);
  const load = new Load();
  current = load;
  try {
    const result = await run(server, load);
    await load.close();
    return { result, leftovers: await server.close() };
  } finally {
    current = undefined;
    await load.close();
    await server.close();
  }
}

/** What the generator must know of a target to load it so. */
export function planOf(
  { transport, path, headers }: Target,
  port: number,
  { inFlight, bytes, disjointIds }: Options,
): LoadPlan {
  return { port, transport, path, headers, inFlight, bytes, disjointIds };
}

export const interrupted = interruption.signal;

/** Ends the generator, so that the run fails and cleans up; no further run is started. */
export function interrupt(): void {
  interruption.abort();
  current?.kill();
}
