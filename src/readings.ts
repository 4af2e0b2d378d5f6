import type { StoreHealth } from "./http/store-health.ts";
import type { OpenedStore } from "./open-store.ts";
import type { ServerRegistry } from "./servers.ts";
import type { Sessions } from "./session/sessions.ts";
import type { StoreReading } from "./telemetry/readings.ts";
import type { GatewayReadings } from "./watching.ts";

export interface ReadParts {
  sessions: Sessions;
  servers: ServerRegistry;
  opened: OpenedStore;
  maxSessions: number;
}

/** What metrics and alerts read of the gateway. Sessions are counted when it is asked for, not while they come and go. */
export function readGateway({ sessions, servers, opened, maxSessions }: ReadParts): GatewayReadings {
  return {
    sessionCount: () => sessions.count,
    maxSessions: () => maxSessions,
    sessions() {
      let orphan = 0;
      // A client of Streamable HTTP may have no stream between two requests.
      for (const session of sessions.index) if (session.isSpare) orphan += 1;
      return { open: sessions.count - orphan, orphan, limit: maxSessions };
    },
    streams() {
      let streams = 0;
      for (const session of sessions.index) if (session.stream !== undefined) streams += 1;
      return streams;
    },
    servers() {
      const inFlight = new Map(servers.names.map((name) => [name, 0]));
      for (const { server, inFlight: own } of sessions.index)
        inFlight.set(server, (inFlight.get(server) ?? 0) + own);
      return [...inFlight].map(([name, count]) => ({ name, inFlight: count }));
    },
    store: () => readStore(sessions, opened),
  };
}

function readStore({ lease }: Sessions, { store, fallback, mirror }: OpenedStore): StoreReading {
  const leaseAgeMs = lease.ageMs(performance.now());
  return {
    kind: store.kind,
    breaker: store.state(),
    leaseAgeSeconds: leaseAgeMs === undefined ? undefined : leaseAgeMs / 1000,
    isFallback: fallback?.().isBridging,
    mirror: mirror?.(),
  };
}

/** Asks the store whether it is there, for `/health/store`. Never rejects. */
export async function storeHealth(sessions: Sessions, opened: OpenedStore): Promise<StoreHealth> {
  const { primary, fallback, mirror } = opened;
  const startedAt = performance.now();
  const reachable = await primary.ready().then(
    () => true,
    () => false,
  );
  const latencyMs = Math.round(10 * (performance.now() - startedAt)) / 10;
  const leaseAgeMs = sessions.lease.ageMs(performance.now());
  const bridge = fallback?.();
  const second = mirror?.();
  return {
    store: primary.kind,
    reachable,
    latencyMs: reachable ? latencyMs : undefined,
    breaker: primary.state(),
    leaseOverdue: sessions.lease.isOverdue(performance.now()),
    leaseAgeSeconds: leaseAgeMs === undefined ? undefined : Math.round(leaseAgeMs / 1000),
    fallback: bridge && { inUse: bridge.isBridging, seconds: bridge.seconds, pending: bridge.waiting },
    mirror: second && {
      reachable: second.state === "closed",
      // Before anything was asked of a store that is away, nothing was read from the mirror.
      reading: second.isReading || (!reachable && second.state === "closed"),
      queued: second.queued,
      dropped: second.dropped,
      lagSeconds: second.lagSeconds,
      divergent: second.divergent,
    },
  };
}
