import { GatewayError } from "../errors.ts";
import { NO_EVENTS, type Events } from "../events.ts";
import type { Log } from "../log.ts";
import { type Child, openChild } from "./child.ts";
import { type Place, SpawnQueue } from "./spawn-queue.ts";
import { StdioLink } from "./stdio-link.ts";
import type { Link, LinkEvents, Upstream } from "./upstream.ts";

export interface StdioUpstreamOptions {
  name: string;
  command: string;
  args: readonly string[];
  cwd?: string | undefined;
  /** The whole environment of each child, as `childEnvironment` makes it. */
  env: Readonly<Record<string, string>>;
  /** Values that must not reach the log when a child prints them on stderr. */
  secrets?: readonly string[];
  /** The longest message a child may send, in bytes. */
  maxLineBytes: number;
  /** How many children may exist. Default 100. */
  maxChildren?: number;
  /** How many may wait to be started. Default 100. */
  maxWaiting?: number;
  /** How many children may be starting at once. Default 4. */
  spawnConcurrency?: number;
  /** After so long without a first line a child no longer counts as starting. Default 10. */
  startSeconds?: number;
  /** How long a message waits for a child that does not read, in milliseconds. Default 2000. */
  sendTimeoutMs?: number;
  /** How long each step of ending a child may take, in milliseconds. Default 2000. */
  graceMs?: number;
  /** Told when a child ends by itself. */
  events?: Events;
  log: Log;
}

/** Counts of this instance, for health and metrics. */
interface StdioStats {
  children: number;
  waiting: number;
  garbageLines: number;
}

export interface StdioUpstream extends Upstream {
  stats(): StdioStats;
}

/** Those of all servers, so that the process is watched once. */
const living = new Set<Child>();

// The process may leave without `close`; a child that is deaf to the end of its input would outlive it.
const killAll = (): void => {
  for (const child of living) child.killNow();
};

function watch(child: Child): void {
  if (living.size === 0) process.on("exit", killAll);
  living.add(child);
  void child.gone.then(() => {
    living.delete(child);
    if (living.size === 0) process.off("exit", killAll);
  });
}

/** A server that is started once for each session and speaks one message a line on stdin and stdout. */
export function createStdioUpstream(options: StdioUpstreamOptions): StdioUpstream {
  const { name, command, args, cwd, env, secrets = [], maxLineBytes, graceMs = 2000 } = options;
  const { startSeconds = 10, sendTimeoutMs = 2000, events: watched = NO_EVENTS } = options;
  const queue = new SpawnQueue({
    maxStarting: options.spawnConcurrency ?? 4,
    maxChildren: options.maxChildren ?? 100,
    maxWaiting: options.maxWaiting ?? 100,
  });
  const links = new Set<Link>();
  const opening = new Set<Promise<Link>>();
  const log = options.log.child({ server: name });
  let closed = false;
  let garbageLines = 0;

  async function start(place: Place, events: LinkEvents, signal: AbortSignal): Promise<Link> {
    if (closed) {
      place.release();
      throw new GatewayError("upstream_start_failed");
    }
    const child = await openChild({ command, args, cwd, env, secrets, graceMs, log }).catch(
      (error: unknown) => {
        place.release();
        log.error({ err: error }, "The server could not be started");
        watched.emit({ type: "server_restarted", server: name, why: "upstream_start_failed" });
        throw error;
      },
    );
    watch(child);
    void child.exited.then(place.started);
    void child.gone.then(place.release);
    if (closed || signal.aborted) {
      child.stdout.destroy();
      await child.close();
      throw signal.aborted ? signal.reason : new GatewayError("upstream_start_failed");
    }
    const startTimer = setTimeout(place.started, startSeconds * 1000).unref();
    const link = new StdioLink(child, events, {
      maxLineBytes,
      sendTimeoutMs,
      log: log.child({ pid: child.pid }),
      onFirstLine: () => {
        clearTimeout(startTimer);
        place.started();
      },
      onGarbage: () => (garbageLines += 1),
      onOwnEnd: (why) => watched.emit({ type: "server_restarted", server: name, why }),
    });
    links.add(link);
    void child.gone.then(() => {
      clearTimeout(startTimer);
      links.delete(link);
    });
    return link;
  }

  return {
    name,
    get isFull() {
      return queue.isFull;
    },
    async open(events, signal) {
      const place = await queue.enter(signal);
      const started = start(place, events, signal);
      opening.add(started);
      return started.finally(() => opening.delete(started));
    },
    async close() {
      closed = true;
      queue.close();
      await Promise.allSettled(opening);
      await Promise.all([...links].map((link) => link.close()));
    },
    stats: () => ({ children: queue.children, waiting: queue.waiting, garbageLines }),
  };
}
