import { randomBytes } from "node:crypto";
import type { IncomingMessage, Server } from "node:http";
import { Server as NetServer } from "node:net";
import { Callers } from "./callers.ts";
import type { Config } from "./config.ts";
import { GatewayError } from "./errors.ts";
import type { GatewayEvent } from "./events.ts";
import { greetStore } from "./greet-store.ts";
import { createApp } from "./http/app.ts";
import { Authenticator } from "./http/authenticate.ts";
import { clientAddress } from "./http/client-address.ts";
import { createDoor, createThinPath, listen } from "./http/door.ts";
import { queryOf } from "./http/admit.ts";
import { createOriginGuard } from "./http/guard-origin.ts";
import { createReady } from "./http/health.ts";
import { createMetricsRoute, listenForMetrics } from "./http/metrics.ts";
import { createOpenStream, retryMs } from "./http/open-stream.ts";
import { createPostMessage } from "./http/post-message.ts";
import { ModernDoor } from "./http/modern-request.ts";
import { createRelayRoute, type ReceiveRelayed } from "./http/relay-message.ts";
import { believe, createStoreHealth } from "./http/store-health.ts";
import { createStreamable } from "./http/streamable.ts";
import type { KeyChange } from "./keys/key-ring.ts";
import type { KeysFile } from "./keys/keys-file.ts";
import { limitsOf, modernLimits } from "./limits.ts";
import type { Log } from "./log.ts";
import { openRelay } from "./open-relay.ts";
import { openSessionStore, type OpenedStore } from "./open-store.ts";
import { readGateway, storeHealth } from "./readings.ts";
import type { Relay, RelayMessage } from "./relay/relay.ts";
import { Carrier } from "./session/carrier.ts";
import { Claims } from "./session/claims.ts";
import { closeAll, closeKeys as closeSessionsOfKeys } from "./session/close-sessions.ts";
import { Elsewhere } from "./session/elsewhere.ts";
import { startHeartbeat } from "./session/heartbeat.ts";
import { PostTokens } from "./session/post-token.ts";
import { Reception } from "./session/reception.ts";
import { Sessions } from "./session/sessions.ts";
import { Summons } from "./session/summons.ts";
import { Whereabouts } from "./session/whereabouts.ts";
import type { ServerConfig } from "./server-config.ts";
import { openServers, type Replaced } from "./servers.ts";
import { hear, watchRelay } from "./watch-relay.ts";
import { openWatching, type Watching } from "./watching.ts";

export interface Gateway {
  /** Port that it listens on. */
  readonly port: number;
  /** Port on which it answers `/metrics` alone, where it has one. */
  readonly metricsPort: number | undefined;
  readonly instanceId: string;
  /**
   * Takes another configuration of the servers behind. Sessions with those that changed or are gone end, for their
   * clients to come again; the others do not notice.
   */
  reload(servers: readonly ServerConfig[]): Promise<Reloaded>;
  /**
   * Takes what the keys file says now, and closes what was opened with keys that are gone. Throws a ConfigError, and
   * changes nothing, for keys that cannot stand together.
   */
  changeKeys(file: KeysFile): KeyChange;
  /** Tells those who watch of something that happened outside. */
  tell(event: GatewayEvent): void;
  /** The audit file was set aside by somebody: a new one is begun. Never rejects. */
  reopen(): Promise<void>;
  /** Drains and ends. Resolves when nothing is left open. Safe to call twice. */
  close(): Promise<void>;
}

/** For so long after a key has ended what it opened is looked for each second; after that now and then. */
const SWEEP_MS = 60_000;
const SWEEP_LATER_MS = 15_000;
const NO_FILE = { keys: [], callers: [] };

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
export async function startGateway(config: Config, options: GatewayOptions): Promise<Gateway> {
  const { log, version } = options;
  const instanceId = `i-${randomBytes(8).toString("hex")}`;
  const undo: (() => Promise<unknown>)[] = [];
  try {
    const watching = await openWatching(config.watch, { instanceId, version, node: process.version, log });
    undo.push(() => watching.close());
    const { events, onStoreCall: onCall } = watching;
    const opened = await openSessionStore(config.store, { instanceId, log, events, onCall });
    undo.push(() => opened.store.close());
    await greetStore(opened.store, log);
    return await startParts(config, options, { instanceId, watching, opened, undo });
  } catch (error) {
    for (const close of undo.toReversed()) await close();
    throw error;
  }
}

interface Opened {
  instanceId: string;
  watching: Watching;
  opened: OpenedStore;
  /** What is to be closed when the start fails, the last first. */
  undo: (() => Promise<unknown>)[];
}

async function startParts(
  config: Config,
  { log, env, version, thinPath = true }: GatewayOptions,
  { instanceId, watching, opened, undo }: Opened,
): Promise<Gateway> {
  const { store } = opened;
  const { events, calls } = watching;
  const callers = new Callers(
    { ...config, ...config.session, file: config.keysFile?.read ?? NO_FILE },
    events,
  );
  const { ring } = callers;
  const servers = await openServers({ ...config, scopes: callers.scopes, env, version, events, log });
  const limits = limitsOf(config);
  const maxSessionsOf = (caller: string) => callers.maxSessionsOf(caller);
  const mayUse = (key: string) => ring.isActive(key);
  const watched = { calls, events, log };
  const base = { instanceId, store, servers, ...config.session, limits, ...watched };
  const sessions = new Sessions({ ...base, maxSessionsOf, mayUse, retryMs });
  const whereabouts = new Whereabouts(store, instanceId);
  const now = () => performance.now();
  const claims = new Claims({ instanceId, store, sessions, whereabouts, ...config.session, log });
  const relay: { current: Relay | undefined } = { current: undefined };
  const common = { instanceId, sessions, store, whereabouts, claims, relay, log, now, retryMs, ...limits };
  const reception = new Reception(common);
  const carrier = new Carrier(common);
  const elsewhere = new Elsewhere({ ...common, events, reception, carrier });
  const summons = new Summons({ ...common, reception, carrier });

  const { http } = config;
  const authenticator = new Authenticator(ring, { events });
  const tokens = new PostTokens(ring);
  const modern = new ModernDoor({ ...limits, limits: modernLimits(config), ...watched });
  const behind = { servers, sessions, reception, elsewhere, carrier, modern };
  const door = { ...behind, mayUse, tokens, authenticator, events, log, ...http };
  const postMessage = createPostMessage(door);
  const streamable = createStreamable(door);
  const guardOrigin = createOriginGuard(http);
  let receiveRelayed: ReceiveRelayed = () => Promise.resolve("unproven");
  const relayMessage = createRelayRoute((header, readBody) => receiveRelayed(header, readBody), guardOrigin);
  const readHealth = believe(() => storeHealth(sessions, opened));
  const { metricsToken: token, metricsPort, metricsHost } = config.watch;
  const { scrape } = watching;
  const countFailure = (req: IncomingMessage) =>
    authenticator.countFailure(clientAddress(req, http.trustProxy), "bearer", "api_key_invalid");
  const openStream = createOpenStream(door);
  const app = createApp({
    openStream,
    postMessage,
    streamable,
    relayMessage,
    guardOrigin,
    allowedOrigins: http.allowedOrigins,
    ready: createReady(sessions, readHealth),
    storeHealth: createStoreHealth(readHealth),
    metrics: scrape && token !== undefined ? createMetricsRoute({ scrape, token, countFailure }) : undefined,
    requireKey: (req) => {
      // A client whose key is in the URL tries a POST first, and falls back to SSE on 405 alone.
      const queryKey = queryOf(req).get("apiKey");
      if (authenticator.identify(req, queryKey, clientAddress(req, http.trustProxy)) === undefined) {
        throw new GatewayError("api_key_missing");
      }
    },
    log,
  });
  const thin = { app, openStream, postMessage, streamable, relayMessage, guardOrigin, log };
  const server = createDoor(thinPath ? createThinPath(thin) : app);
  const port = await listen(server, http.port, http.host);
  undo.push(() => Promise.resolve(server.close()));
  const metrics =
    scrape && metricsPort !== undefined
      ? await listenForMetrics({ port: metricsPort, host: metricsHost, scrape, log })
      : undefined;
  if (metrics !== undefined) undo.push(() => metrics.close());
  watching.observe(readGateway({ sessions, servers, opened, maxSessions: config.session.maxSessions }));
  opened.onBack(() => void sessions.reassert());
  servers.start();
  if (config.relay.isOn) {
    const heard = hear(events, (from: string, message: RelayMessage) => summons.receive(from, message));
    const relayEvents = { onMessage: heard, onLapse: () => sessions.distrustLease() };
    const mount = (receive: ReceiveRelayed) => (receiveRelayed = receive);
    const place = { instanceId, host: http.host, port, events: relayEvents, mount, log };
    relay.current = watchRelay(await openRelay(config.relay, config.store, place), events);
    sessions.lease.advertise(relay.current.address);
    log.info({ driver: relay.current.kind }, "Session relay: ENABLED");
  }
  let sweepUntil = -Infinity;
  let sweepAt = 0;
  // Also what came in while its key went: a request's body may take long, and so may the store or another instance.
  const expiry = {
    beat(now: number) {
      if (ring.expire().length > 0) sweepUntil = now + SWEEP_MS;
      if (now >= sweepUntil && now < sweepAt) return;
      sweepAt = now + SWEEP_LATER_MS;
      closeKeys();
    },
  };
  const stopHeartbeat = startHeartbeat([sessions, carrier, summons, modern, opened, watching, expiry]);

  function closeKeys(): void {
    closeSessionsOfKeys(sessions.index, mayUse, retryMs);
    carrier.closeKeys(mayUse);
    modern.closeListens(({ key }) => key !== undefined && !mayUse(key));
  }

  async function reload(next: readonly ServerConfig[]): Promise<Reloaded> {
    const { added, changed, removed, closeReplaced } = await servers.replace(next);
    sessions.closeServers([...changed, ...removed]);
    await closeReplaced();
    const target = [...added, ...changed, ...removed].join(",").slice(0, 200);
    events.emit({ type: "operator_action", action: "servers_changed", target, outcome: "done" });
    return { added, changed, removed };
  }

  function changeKeys(file: KeysFile): KeyChange {
    const { rescoped, ...change } = callers.replace(file);
    servers.allow(callers.scopes);
    sweepUntil = performance.now() + SWEEP_MS;
    closeKeys();
    const isRescoped = ({ caller }: { caller: string }) => rescoped.includes(caller);
    closeAll(sessions.index, "server_changed", isRescoped, retryMs);
    modern.closeListens(isRescoped);
    for (const target of rescoped)
      events.emit({ type: "operator_action", action: "scope_changed", target, outcome: "done" });
    return change;
  }

  let closed: Promise<void> | undefined;
  async function close(): Promise<void> {
    await sessions.lease.drain(); // 0. Others know why the door is closed.
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
    await metrics?.close();
    await store.close(); // 6. Nothing speaks to the store any more.
    await watching.close(); // 7. All that was to be recorded is.
    log.info("gateway closed");
  }
  const { reopen } = watching;
  const tell = (event: GatewayEvent) => events.emit(event);
  const metricsAt = metrics?.port;
  return {
    port,
    metricsPort: metricsAt,
    instanceId,
    reload,
    changeKeys,
    tell,
    reopen,
    close: () => (closed ??= close()),
  };
}

/** Connections that are open stay so: other instances send messages on them for sessions that are not handed over yet. */
function stopListening(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // The HTTP server's own `close` would cut idle connections, under a request that is on its way perhaps.
    NetServer.prototype.close.call(server, () => resolve());
  });
}
