import { randomBytes } from "node:crypto";
import type { Server } from "node:http";
import { Server as NetServer } from "node:net";
import { openRelay, openSessionStore } from "./backend.ts";
import type { Config } from "./config.ts";
import { ConfigError, GatewayError } from "./errors.ts";
import { NO_EVENTS } from "./events.ts";
import { createApp } from "./http/app.ts";
import { Authenticator } from "./http/authenticate.ts";
import { clientAddress } from "./http/client-address.ts";
import { createDoor, createThinPath, listen } from "./http/door.ts";
import { queryOf } from "./http/admit.ts";
import { createOriginGuard } from "./http/guard-origin.ts";
import { createReady } from "./http/health.ts";
import { createOpenStream, retryMs } from "./http/open-stream.ts";
import { createPostMessage } from "./http/post-message.ts";
import { ModernDoor } from "./http/modern-request.ts";
import { createRelayRoute, type ReceiveRelayed } from "./http/relay-message.ts";
import { createStreamable } from "./http/streamable.ts";
import type { Log } from "./log.ts";
import type { Relay, RelayMessage } from "./relay/relay.ts";
import { Carrier } from "./session/carrier.ts";
import { Claims } from "./session/claims.ts";
import { Elsewhere } from "./session/elsewhere.ts";
import { startHeartbeat } from "./session/heartbeat.ts";
import { PostTokens } from "./session/post-token.ts";
import { Reception } from "./session/reception.ts";
import type { SessionLimits } from "./session/session-parts.ts";
import { Sessions } from "./session/sessions.ts";
import { Summons } from "./session/summons.ts";
import { Whereabouts } from "./session/whereabouts.ts";
import type { SessionStore } from "./session-store/session-store.ts";
import type { StoreFailure } from "./session-store/store-failure.ts";
import type { ServerConfig } from "./server-config.ts";
import { openServers, type Replaced } from "./servers.ts";

export interface Gateway {
  /** Port that it listens on. */
  readonly port: number;
  readonly instanceId: string;
  /**
   * Takes another configuration of the servers behind. Sessions with those that changed or are gone end, for their
   * clients to come again; the others do not notice.
   */
  reload(servers: readonly ServerConfig[]): Promise<Reloaded>;
  /** Drains and ends. Resolves when nothing is left open. Safe to call twice. */
  close(): Promise<void>;
}

/** Names of servers, by what became of them. */
type Reloaded = Pick<Replaced, "added" | "changed" | "removed">;

export interface GatewayOptions {
  log: Log;
  /** What the server behind may inherit from. */
  env: NodeJS.ProcessEnv;
  /** The gateway's own, which clients of several servers see. */
  version: string;
  /** Whether the hot route goes past Express. On, but for the tests and the bench that compare. */
  thinPath?: boolean;
}

/**
 * Builds the gateway from its parts and starts it. Every part is made here and nowhere else. Rejects with a ConfigError
 * when the store refuses our credentials, and with the system's error when the port cannot be had.
 */
export async function startGateway(
  config: Config,
  { log, env, version, thinPath = true }: GatewayOptions,
): Promise<Gateway> {
  const instanceId = `i-${randomBytes(8).toString("hex")}`;
  const store = openSessionStore(config.store, log);
  await greet(store, log);
  const events = NO_EVENTS;
  const servers = openServers({ ...config, env, version, events, log });
  const limits = limitsOf(config);
  const maxSessionsOf = () => config.session.maxSessionsPerCaller;
  const mayUse = () => true;
  const common0 = { instanceId, store, servers, events, log, ...config.session };
  const sessions = new Sessions({ ...common0, maxSessionsOf, mayUse, limits, retryMs });
  const whereabouts = new Whereabouts(store, instanceId);
  const now = () => performance.now();
  const claims = new Claims({ instanceId, store, sessions, whereabouts, ...config.session, log });
  const relay: { current: Relay | undefined } = { current: undefined };
  const common = { instanceId, sessions, store, whereabouts, claims, relay, log, now, retryMs, ...limits };
  const reception = new Reception(common);
  const carrier = new Carrier(common);
  const elsewhere = new Elsewhere({ ...common, reception, carrier });
  const summons = new Summons({ ...common, reception, carrier });

  const { http, keys } = config;
  const authenticator = new Authenticator(keys);
  const tokens = new PostTokens(keys.map((key) => key.digest));
  const modern = new ModernDoor({ ...limits, limits: modernLimits(config), log });
  const behind = { servers, sessions, reception, elsewhere, carrier, modern };
  const door = { ...behind, tokens, authenticator, log, ...http };
  const postMessage = createPostMessage(door);
  const streamable = createStreamable(door);
  const guardOrigin = createOriginGuard(http);
  let receiveRelayed: ReceiveRelayed = () => Promise.resolve("unproven");
  const relayMessage = createRelayRoute((header, readBody) => receiveRelayed(header, readBody), guardOrigin);
  const app = createApp({
    openStream: createOpenStream(door),
    postMessage,
    streamable,
    relayMessage,
    guardOrigin,
    allowedOrigins: http.allowedOrigins,
    ready: createReady(sessions, () => store.ready()),
    requireKey: (req) => {
      // A client whose key is in the URL tries a POST first, and falls back to SSE on 405 alone.
      const queryKey = queryOf(req).get("apiKey");
      if (authenticator.identify(req, queryKey, clientAddress(req, http.trustProxy)) === undefined) {
        throw new GatewayError("api_key_missing");
      }
    },
    log,
  });
  const thin = { app, postMessage, streamable, relayMessage, guardOrigin, log };
  const server = createDoor(thinPath ? createThinPath(thin) : app);
  const port = await listen(server, http.port, http.host).catch(async (error: unknown) => {
    await store.close();
    throw error;
  });
  servers.start();
  if (config.relay.isOn) {
    const events = {
      onMessage: (from: string, message: RelayMessage) => summons.receive(from, message),
      onLapse: () => sessions.distrustLease(),
    };
    const mount = (receive: ReceiveRelayed) => (receiveRelayed = receive);
    const place = { instanceId, host: http.host, port, events, mount, log };
    relay.current = await openRelay(config.relay, config.store, place).catch(async (error: unknown) => {
      server.close();
      await store.close();
      throw error;
    });
    sessions.advertise(relay.current.address);
    log.info({ driver: relay.current.kind }, "Session relay: ENABLED");
  }
  const stopHeartbeat = startHeartbeat([sessions, carrier, summons, modern]);

  async function reload(next: readonly ServerConfig[]): Promise<Reloaded> {
    const { added, changed, removed, closeReplaced } = servers.replace(next);
    sessions.closeServers([...changed, ...removed]);
    await closeReplaced();
    return { added, changed, removed };
  }

  let closed: Promise<void> | undefined;
  async function close(): Promise<void> {
    await sessions.announceDrain(); // 0. Others know why the door is closed.
    const stopped = stopListening(server); // 1. New clients are refused, and try elsewhere.
    log.info({ sessions: sessions.count, inFlight: sessions.inFlight }, "draining");
    const timeIsUp = AbortSignal.timeout(config.drainSeconds * 1000);
    carrier.close(); // 2. Streams of sessions on other instances end; their clients go elsewhere.
    // 3. What is in flight is answered; sessions are handed over.
    await Promise.all([sessions.drain(timeIsUp), modern.drain(timeIsUp)]);
    stopHeartbeat();
    modern.close();
    await sessions.close(retryMs); // 4. Other streams end; servers see their stdin close; records and lease go.
    await servers.close();
    server.closeIdleConnections();
    const cut = setTimeout(() => server.closeAllConnections(), 1000);
    await stopped; // 5. The last answers leave.
    clearTimeout(cut);
    await relay.current?.close();
    await store.close(); // 6. Nothing speaks to the store any more.
    log.info("gateway closed");
  }
  return { port, instanceId, reload, close: () => (closed ??= close()) };
}

/** Says what the users' documents promise, and stops a start with credentials that cannot work. */
async function greet(store: SessionStore, log: Log): Promise<void> {
  if (store.kind === "memory") {
    log.warn("⚠️  Redis not configured, falling back to in-memory sessions");
    log.info("Redis Sessions: DISABLED (in-memory)");
    return;
  }
  try {
    await store.ready();
    // A read-only token would pass until the first session.
    await store.removeLease("none");
    log.info({ store: store.kind }, "✓ Redis session manager initialized");
  } catch (error) {
    const isRefused =
      error instanceof GatewayError && (error.cause as StoreFailure | undefined)?.kind === "credentials";
    if (error instanceof ConfigError || isRefused) {
      await store.close();
      throw isRefused
        ? new ConfigError([
            `The ${store.kind} store refuses to be written to. Use credentials that may write, not read-only ones.`,
          ])
        : error;
    }
    log.warn(
      { err: error, store: store.kind },
      "session store cannot be reached yet: starting without, and trying on",
    );
  }
  log.info("Redis Sessions: ENABLED");
}

/** Requests of the 2026-07-28 era have no session to count them by. */
const modernLimits = ({ session }: Config) => ({
  requestsPerCaller: session.maxInFlight * 4,
  listensPerCaller: session.maxSessionsPerCaller,
  total: session.maxSessions,
});

function limitsOf({ session, servers }: Config): SessionLimits {
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

/** Connections that are open stay so: other instances send messages on them for sessions that are not handed over yet. */
function stopListening(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // The HTTP server's own `close` would cut idle connections, under a request that is on its way perhaps.
    NetServer.prototype.close.call(server, () => resolve());
  });
}
