import type { WatchedClient, WatchOptions } from "../support/cluster-client.ts";
import type { Resumed } from "../support/cluster-client-wire.ts";
import type { Stage } from "./stage.ts";

/** Connects clients of Streamable HTTP: one half follows the specification, the others are of both SDKs by turns. */
export async function connectStreamable(
  { connect }: Stage,
  count: number,
  options: Partial<WatchOptions> = {},
): Promise<WatchedClient[]> {
  const half = Math.floor(count / 2);
  const spec = await connect(half, { version: "spec", ...options });
  return [...spec, ...(await connect(count - half, { transport: "streamable", ...options }))];
}

/** What the gateway did against the protocol, in the eyes of the clients that look for it. */
export const breachesOf = (clients: readonly WatchedClient[]): string[] =>
  clients
    .filter(({ version }) => version === "spec")
    .flatMap((client) => client.errors().map(({ message }) => `${client.name}: ${message}`));

/** How often all of them have gone on with a stream. */
export function resumedBy(clients: readonly WatchedClient[]): Resumed {
  const sum = (of: keyof Resumed) => clients.reduce((all, { resumed }) => all + resumed[of], 0);
  return { lanes: sum("lanes"), own: sum("own") };
}
