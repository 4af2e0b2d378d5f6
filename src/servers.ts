import { isDeepStrictEqual } from "node:util";
import { GatewayError } from "./errors.ts";
import type { Events } from "./events.ts";
import type { Log } from "./log.ts";
import { AGGREGATE, type ServerConfig } from "./server-config.ts";
import { createServerParts, lend, type ServerParts } from "./server-parts.ts";
import type { LinkLimits, Servers } from "./session/servers.ts";
import { createAggregateUpstream } from "./upstream/aggregate.ts";
import type { Scope } from "./upstream/scope.ts";
import { scopeUpstream } from "./upstream/scoped.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** What a new configuration changed, by the servers' names. */
export interface Replaced {
  added: string[];
  changed: string[];
  removed: string[];
  /** Ends what was changed or removed: to be called when its sessions were ended. Safe to call twice. */
  closeReplaced(): Promise<void>;
}

/** One server for health and metrics. */
export interface ServerStats {
  name: string;
  kind: ServerConfig["kind"];
  model: ServerConfig["model"];
  /** Its processes, and the sessions that wait for one. Undefined for a server that has none. */
  processes: { children: number; waiting: number } | undefined;
}

export interface ServerRegistry extends Servers {
  readonly names: string[];
  /** Starts what is to be ready ahead of its sessions, now and with each new configuration. */
  start(): void;
  /**
   * Takes a new configuration. Servers whose entry is the same are not touched. The others are new from now on, for
   * sessions that open; those that are open keep what they have until it is closed. One call at a time. When it rejects,
   * everything is as it was.
   */
  replace(next: readonly ServerConfig[]): Promise<Replaced>;
  /** Takes other scopes, for what is opened from now on. */
  allow(scopes: ReadonlyMap<string, Scope> | undefined): void;
  stats(): ServerStats[];
  /** Ends every server. Safe to call twice. */
  close(): Promise<void>;
}

export interface ServersOptions {
  servers: readonly ServerConfig[];
  /** What each caller may use. Undefined: everybody everything. */
  scopes: ReadonlyMap<string, Scope> | undefined;
  /** What processes may inherit from. */
  env: NodeJS.ProcessEnv;
  /** The gateway's own, which clients of several servers see. */
  version: string;
  events: Events;
  log: Log;
  /** Builds one server; another way for tests. */
  build?: (config: ServerConfig) => Promise<ServerParts>;
}

type Side = "direct" | "stateless";

/**
 * The servers behind, each built once, and what each caller sees of them. Loads what they need, and opens nothing until a
 * session does.
 */
export async function openServers(options: ServersOptions): Promise<ServerRegistry> {
  const registry = new Registry(options);
  await registry.replace(options.servers);
  return registry;
}

class Registry implements ServerRegistry {
  #scopes: ReadonlyMap<string, Scope> | undefined;
  readonly #version: string;
  readonly #log: Log;
  readonly #build: (config: ServerConfig) => Promise<ServerParts>;
  /** One for each side, server and caller of the configuration at most: unknown names are not kept. */
  readonly #views = new Map<string, Upstream>();
  #servers = new Map<string, { config: ServerConfig; parts: ServerParts }>();
  #isStarted = false;
  #closed: Promise<void> | undefined;

  constructor({ scopes, env, version, events, log, build }: ServersOptions) {
    this.#scopes = scopes;
    this.#version = version;
    this.#log = log;
    this.#build = build ?? ((config) => createServerParts(config, { env, events, log }));
  }

  start(): void {
    this.#isStarted = true;
    for (const { parts } of this.#servers.values()) parts.start();
  }

  get names(): string[] {
    return [...this.#servers.keys()];
  }

  get root(): string {
    const [first, ...others] = this.#servers.keys();
    return first === undefined || others.length > 0 ? AGGREGATE : first;
  }

  upstreamFor(server: string, caller: string): Upstream | undefined {
    return this.#viewOf("direct", server, caller);
  }

  statelessFor(server: string, caller: string): Upstream | undefined {
    return this.#viewOf("stateless", server, caller);
  }

  limitsOf(server: string): LinkLimits | undefined {
    const configs = [...this.#servers.values()].map(({ config }) => config);
    // All together are started once and wait for the slowest; which of them ended is for the aggregate to mend.
    const of = server === AGGREGATE ? configs : configs.filter(({ name }) => name === server);
    if (of.length === 0) return undefined;
    const startMs = Math.max(...of.map(({ startSeconds }) => startSeconds)) * 1000;
    return { startMs, restarts: Math.max(...of.map(({ restarts }) => restarts)) };
  }

  async replace(next: readonly ServerConfig[]): Promise<Replaced> {
    const before = this.#servers;
    const after = new Map<string, { config: ServerConfig; parts: ServerParts }>();
    const built: ServerParts[] = [];
    const replaced: ServerParts[] = [];
    const added: string[] = [];
    const changed: string[] = [];
    for (const config of next) {
      const old = before.get(config.name);
      if (old !== undefined && isDeepStrictEqual(old.config, config)) {
        after.set(config.name, old);
        continue;
      }
      (old === undefined ? added : changed).push(config.name);
      if (old !== undefined) replaced.push(old.parts);
      const parts = await this.#build(config);
      built.push(parts);
      after.set(config.name, { config, parts });
    }
    this.#servers = after;
    if (this.#isStarted) for (const parts of built) parts.start();
    const removed = [...before.keys()].filter((name) => !this.#servers.has(name));
    for (const name of removed) replaced.push((before.get(name) as { parts: ServerParts }).parts);
    if (added.length + replaced.length > 0)
      this.#forget(new Set([AGGREGATE, ...added, ...changed, ...removed]));
    const closeReplaced = once(() => closeAll(replaced));
    return { added, changed, removed, closeReplaced };
  }

  allow(scopes: ReadonlyMap<string, Scope> | undefined): void {
    this.#scopes = scopes;
    this.#views.clear();
  }

  stats(): ServerStats[] {
    return [...this.#servers.values()].map(({ config: { name, kind, model }, parts }) => {
      return { name, kind, model, processes: parts.processes() };
    });
  }

  close(): Promise<void> {
    // Nothing is started any more by a configuration that is still on its way.
    this.#isStarted = false;
    this.#closed ??= closeAll([...this.#servers.values()].map(({ parts }) => parts));
    return this.#closed;
  }

  #viewOf(side: Side, server: string, caller: string): Upstream | undefined {
    const scope = this.#scopes?.get(caller);
    if (this.#scopes !== undefined && scope === undefined) return undefined;
    const key = `${server} ${side} ${caller}`;
    const known = this.#views.get(key);
    if (known !== undefined) return known;
    const view =
      server === AGGREGATE
        ? this.#aggregateOf(side, caller, scope)
        : this.#serverOf(side, server, caller, scope);
    if (view !== undefined) this.#views.set(key, view);
    return view;
  }

  /** An aggregate that was seen before goes on for its sessions; its places find the servers of now. */
  #forget(servers: ReadonlySet<string>): void {
    for (const key of this.#views.keys()) {
      if (servers.has(key.split(" ", 1)[0] as string)) this.#views.delete(key);
    }
  }

  #serverOf(side: Side, server: string, caller: string, scope: Scope | undefined): Upstream | undefined {
    const parts = this.#servers.get(server)?.parts;
    const upstream = side === "direct" ? parts?.direct : parts?.statelessOf(caller);
    if (upstream === undefined || scope === undefined || scope.isWhole(server)) return upstream;
    if (!scope.mayUseServer(server)) return undefined;
    const mayCall = (tool: string): boolean => scope.mayCall(server, tool);
    return scopeUpstream(lend(upstream), { isWhole: false, mayCall });
  }

  #aggregateOf(side: Side, caller: string, scope: Scope | undefined): Upstream | undefined {
    if (this.root !== AGGREGATE) return undefined;
    const members = this.names
      .filter((name) => scope === undefined || scope.mayUseServer(name))
      .map((name) => this.#place(side, name, caller));
    if (members.length === 0) return undefined;
    const { startMs } = this.limitsOf(AGGREGATE) as LinkLimits;
    return createAggregateUpstream({
      name: AGGREGATE,
      members,
      version: this.#version,
      startMs,
      log: this.#log,
    });
  }

  /** A server by its name, whichever stands there when a link is opened: a session of all outlives a change of one. */
  #place(side: Side, name: string, caller: string): Upstream {
    const view = (): Upstream | undefined => this.#viewOf(side, name, caller);
    return {
      name,
      get isFull() {
        return view()?.isFull ?? false;
      },
      open: (events, signal) =>
        view()?.open(events, signal) ?? Promise.reject(new GatewayError("upstream_unavailable")),
      close: () => Promise.resolve(),
    };
  }
}

const closeAll = async (all: readonly ServerParts[]): Promise<void> => {
  await Promise.all(all.map((parts) => parts.close()));
};

const once = <T>(act: () => T): (() => T) => {
  let result: { is: T } | undefined;
  return () => (result ??= { is: act() }).is;
};
