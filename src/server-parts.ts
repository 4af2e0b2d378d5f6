import type { Events } from "./events.ts";
import type { Log } from "./log.ts";
import type { ServerConfig } from "./server-config.ts";
import { breakUpstream } from "./upstream/breaker.ts";
import { childEnvironment } from "./upstream/environment.ts";
import { legacyFront } from "./upstream/legacy-front.ts";
import { modernFront } from "./upstream/modern-front.ts";
import { poolUpstream } from "./upstream/pool.ts";
import { shareUpstream } from "./upstream/shared.ts";
import { createStatelessUpstream } from "./upstream/stateless.ts";
import { createStdioUpstream } from "./upstream/stdio.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** One server as it is built from its configuration. */
export interface ServerParts {
  /** For sessions of a version with `initialize`. */
  direct: Upstream;
  /** For requests of the 2026-07-28 era of one caller: what a translation keeps of one is not shown to another. */
  statelessOf(caller: string): Upstream;
  /** Starts what is to be ready ahead of its sessions. */
  start(): void;
  /** Its processes now, and the sessions that wait for one. Undefined for a server that has none. */
  processes(): { children: number; waiting: number } | undefined;
  /** Ends every link. Safe to call twice. */
  close(): Promise<void>;
}

export interface ServerPartsOptions {
  /** What a process may inherit from. */
  env: NodeJS.ProcessEnv;
  events: Events;
  log: Log;
}

/** So many failed starts in a row, and how long nothing is started then, at first. */
const BREAKER = { failures: 5, resetMs: 5000 };
const NO_PROCESS = { start: () => {}, processes: () => undefined };

/** What speaks to the server itself, each side in its own era. */
interface Lines extends Omit<ServerParts, "statelessOf" | "close"> {
  stateless: Upstream;
  /** From the outermost layer to the server. */
  layers: Upstream[];
}

/** Builds a server out of its layers, and touches nothing. Loads what only its kind needs. */
export async function createServerParts(
  config: ServerConfig,
  options: ServerPartsOptions,
): Promise<ServerParts> {
  const { log } = options;
  const { direct, stateless, start, processes, layers } = await linesTo(config, options);
  const legacy = legacyFront(lend(direct), lend(stateless), { log });
  const modern = modernFront(lend(stateless), lend(direct), {
    answersDiscovery: config.discovery === "translate",
    // The other half is for sessions, which no call that waits for its client can keep out.
    maxLinks: Math.max(1, Math.floor(config.maxChildren / 2)),
    idleMs: config.idleSeconds * 1000,
    startMs: config.startSeconds * 1000,
    log,
  });
  return {
    direct: legacy,
    statelessOf: (caller) => modern.ofCaller(caller),
    start,
    processes,
    async close() {
      // Whoever translates says goodbye before the line is cut.
      await Promise.all([legacy.close(), modern.close()]);
      for (const layer of layers) await layer.close();
    },
  };
}

async function linesTo(config: ServerConfig, options: ServerPartsOptions): Promise<Lines> {
  const { name, idleSeconds, maxLineBytes: maxMessageBytes } = config;
  const { log } = options;
  if (config.kind === "remote") {
    const { createRemoteUpstream } = await import("./upstream/remote.ts");
    const { url, headers, transport } = config;
    const remote = createRemoteUpstream({ name, url, headers, transport, maxMessageBytes, log });
    if (transport !== "sse")
      return { direct: remote, stateless: remote.stateless, ...NO_PROCESS, layers: [remote] };
    // The era that has no streams of its own can ride on this one.
    const riding = createStatelessUpstream(lend(remote), { idleMs: idleSeconds * 1000, log });
    return { direct: remote, stateless: riding, ...NO_PROCESS, layers: [riding, remote] };
  }
  if (config.kind === "stdio") return linesToProcess(config, options);
  const { createBuiltinUpstream } = await import("./upstream/builtin.ts");
  const { createDemoServer } = await import("./upstream/demo-server.ts");
  const builtin = createBuiltinUpstream({ name, createServer: createDemoServer, log });
  const stateless = createStatelessUpstream(lend(builtin), { idleMs: idleSeconds * 1000, log });
  return { direct: builtin, stateless, ...NO_PROCESS, layers: [stateless, builtin] };
}

function linesToProcess(
  config: Extract<ServerConfig, { kind: "stdio" }>,
  { env, events, log }: ServerPartsOptions,
): Lines {
  const idleMs = config.idleSeconds * 1000;
  const stdio = createStdioUpstream({
    ...config,
    // A process that is started ahead says nothing, and so holds a starting place for a while.
    spawnConcurrency: config.spawnConcurrency + (config.model === "pool" ? config.poolSize : 0),
    env: { ...childEnvironment(env, []), ...config.env },
    maxWaiting: config.maxChildren,
    events,
    log,
  });
  // Each side has its own: a server that ends when it is asked for the other era must not close the door to sessions.
  const breaker = (): Upstream => breakUpstream(lend(stdio), { ...BREAKER, events, log });
  const sessions = breaker();
  const pool =
    config.model === "pool"
      ? poolUpstream(sessions, { size: Math.min(config.poolSize, config.maxChildren), idleMs, log })
      : undefined;
  const shared = config.model === "shared" ? shareUpstream(sessions, { idleMs, log }) : undefined;
  const direct = pool ?? shared ?? sessions;
  const stateless = createStatelessUpstream(breaker(), { idleMs, log });
  return {
    direct,
    stateless,
    start: () => pool?.start(),
    processes: () => stdio.stats(),
    layers: [stateless, direct, stdio],
  };
}

/** The same upstream for a layer around it, which cannot end it: other layers stand on it too. */
export const lend = (upstream: Upstream): Upstream => ({
  name: upstream.name,
  get isFull() {
    return upstream.isFull;
  },
  open: (events, signal) => upstream.open(events, signal),
  close: () => Promise.resolve(),
});
