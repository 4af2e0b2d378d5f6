import type { Config } from "./config.ts";
import type { SessionLimits } from "./session/session-parts.ts";

/** Requests of the 2026-07-28 era have no session to count them by. */
export const modernLimits = ({ session }: Config) => ({
  requestsPerCaller: session.maxInFlight * 4,
  listensPerCaller: session.maxSessionsPerCaller,
  total: session.maxSessions,
});

/** Bounds of a session, as the settings have them. */
export function limitsOf({ session, servers }: Config): SessionLimits {
  return {
    heartbeatMs: session.heartbeatSeconds * 1000,
    inFlight: session.maxInFlight,
    outboxPauseBytes: session.maxOutboxBytes / 8,
    outboxMaxBytes: session.maxOutboxBytes,
    slowReaderMs: 30_000,
    idleMs: session.idleSeconds * 1000,
    firstPostMs: session.firstPostSeconds * 1000,
    startMs: Math.max(...servers.map(({ startSeconds }) => startSeconds)) * 1000,
    requestTimeoutMs: session.requestTimeoutSeconds * 1000,
    orphanMs: session.orphanGraceSeconds * 1000,
    maxAgeMs: session.maxSeconds * 1000,
    streamMaxAgeMs: session.streamMaxAgeSeconds * 1000,
    restarts: Math.max(...servers.map(({ restarts }) => restarts)),
  };
}
