import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { ModernLink, type ModernLinkParts } from "./modern-link.ts";
import type { ModernCall } from "./modern-call.ts";
import { Parked } from "./modern-parked.ts";
import { ModernPool } from "./modern-pool.ts";
import { ownedBy } from "./owned.ts";
import type { Upstream } from "./upstream.ts";

export interface ModernFrontOptions {
  /** Whether who asks which versions the server speaks is told of this one; else it is left to begin a session. */
  answersDiscovery: boolean;
  /**
   * How many initialised links there may be to a server that needs them, those included that wait for a client's input.
   * One caller may hold half of them.
   */
  maxLinks: number;
  /** Such a link is closed when it was not used for so long, in ms. 0 means never. */
  idleMs: number;
  /** How long a server may take to be started and initialised, in ms. Default 60,000. */
  startMs?: number;
  /** How long a client may take to come back with the input that a server asked for, in ms. Default 300,000. */
  parkMs?: number;
  log: Log;
}

export interface ModernFront extends Upstream {
  /** The same, for one caller: no link that it uses was or will be another's, and no other can go on with its calls. */
  ofCaller(caller: string): Upstream;
}

/**
 * What a request of the 2026-07-28 era gets: the server itself, or, when that speaks only versions with `initialize`, a
 * translation. Clients of one caller, and of equal name and capabilities, use the same links, one after the other. Calls
 * that wait for a client's input wait in this process: to another one their `requestState` says nothing.
 *
 * @param stateless links for single requests; `open` rejects with `upstream_era` when the server cannot do them.
 * @param direct links for sessions, to the same server.
 */
export function modernFront(stateless: Upstream, direct: Upstream, options: ModernFrontOptions): ModernFront {
  const { answersDiscovery, maxLinks, idleMs, startMs = 60_000, parkMs = 300_000, log } = options;
  const parked = new Parked<ModernCall>(parkMs);
  const pool = new ModernPool({ direct, parked, maxLinks, idleMs, startMs, log });
  const links = new Set<ModernLink>();
  let closed = false;
  const upstreamOf = (caller: string): Omit<Upstream, "close"> => ({
    name: stateless.name,
    get isFull() {
      return stateless.isFull;
    },
    async open(events, signal) {
      if (closed) throw new GatewayError("upstream_start_failed");
      try {
        return await ownedBy(stateless, caller).open(events, signal);
      } catch (error) {
        if (!(error instanceof GatewayError) || error.reason !== "upstream_era") throw error;
      }
      if (closed) throw new GatewayError("upstream_start_failed");
      signal.throwIfAborted();
      const onGone = () => links.delete(link);
      const parts: ModernLinkParts = { pool, parked, caller, answersDiscovery, events, onGone };
      const link: ModernLink = new ModernLink(parts);
      links.add(link);
      return link;
    },
  });
  async function close(): Promise<void> {
    closed = true;
    parked.close();
    await Promise.all([...links].map((link) => link.close()));
    await pool.close();
    await Promise.all([stateless.close(), direct.close()]);
  }
  return Object.assign(upstreamOf(""), {
    close,
    // It ends with all the others.
    ofCaller: (caller: string): Upstream =>
      Object.assign(upstreamOf(caller), { close: async () => undefined }),
  });
}
