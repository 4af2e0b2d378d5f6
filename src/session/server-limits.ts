import type { Servers } from "./servers.ts";
import type { SessionLimits } from "./session-parts.ts";

/** The bounds of sessions with each server: one object for all of them, however many they are. */
export function limitsByServer(
  limits: SessionLimits,
  servers: Pick<Servers, "limitsOf">,
): (server: string) => SessionLimits {
  const known = new Map<string, SessionLimits>();
  return (server) => {
    const own = servers.limitsOf(server);
    const { startMs, restarts } = own ?? limits;
    let all = known.get(server);
    // A server's configuration may change.
    if (all?.startMs !== startMs || all.restarts !== restarts)
      known.set(server, (all = { ...limits, startMs, restarts }));
    return all;
  };
}
