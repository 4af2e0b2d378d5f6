import { createHash } from "node:crypto";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { createMux, type Mux } from "./mux.ts";
import { SharedLink } from "./shared-link.ts";
import { sharedRules } from "./shared-rules.ts";
import type { Upstream } from "./upstream.ts";

export interface SharedOptions {
  /** After so long without sessions a server is closed, in milliseconds. 0 means never. */
  idleMs: number;
  /** How many kinds of sessions share a server at once, each kind one of its own. Default 8. */
  maxHandshakes?: number;
  log: Log;
}

/**
 * Many sessions of the eras with `initialize` on one link of `inner`. Sessions whose `initialize` asks for the same
 * version with the same capabilities share a server, which is told the first one's; each other kind has a server of its
 * own. When there are too many kinds, a session of one more has a server for itself; `send` of its `initialize` rejects
 * with `upstream_queue_full` when `inner` has no room for that.
 *
 * What the server says goes to the one session that it belongs to or can belong to, else to nobody. Only that a list
 * has changed is said to all.
 */
export function shareUpstream(inner: Upstream, options: SharedOptions): Upstream {
  const { idleMs, maxHandshakes = 8, log } = options;
  /** Each with the kind of its sessions. */
  const muxes = new Map<string, Mux>();
  /** Has no session yet that is initialized. */
  let fresh: Mux | undefined;
  let closed = false;

  const create = (): Mux => createMux(inner, { idleMs, log, createRules: sharedRules });

  /** Where a session may begin before it has said of what kind it is. */
  function anyMux(): Mux | undefined {
    const known = [...muxes.values()];
    return fresh ?? known.find((mux) => mux.isInUse) ?? known[0];
  }

  function findPlace(params: Buffer, current: Upstream): Upstream {
    const kind = kindOf(params);
    const known = muxes.get(kind);
    if (known) return known;
    const place = current === fresh ? fresh : createPlace(current);
    if (place === undefined) return findPrivatePlace();
    if (place === fresh) fresh = undefined;
    muxes.set(kind, place);
    return place;
  }

  /** A place for one more kind. Undefined when there are too many. */
  function createPlace(current: Upstream): Mux | undefined {
    if (muxes.size + (fresh ? 1 : 0) < maxHandshakes) return create();
    for (const [kind, mux] of muxes) {
      // The one who asks leaves its own place.
      if (mux.links > (mux === current ? 1 : 0)) continue;
      muxes.delete(kind);
      mux.retire();
      return create();
    }
    return undefined;
  }

  /** Whoever asks for what nobody else does must not take the place of others. */
  function findPrivatePlace(): Upstream {
    const about = { server: inner.name, kinds: maxHandshakes };
    if (inner.isFull) {
      log.warn(about, "Too many kinds of sessions share the server, and there is no room for more servers");
      throw new GatewayError("upstream_queue_full");
    }
    log.info(about, "Too many kinds of sessions share the server: one has a server for itself");
    return inner;
  }

  return {
    name: inner.name,
    get isFull() {
      return (anyMux() ?? inner).isFull;
    },
    async open(events, signal) {
      signal.throwIfAborted();
      if (closed) throw new GatewayError("upstream_start_failed");
      const place = anyMux() ?? (fresh = create());
      return SharedLink.open(place, events, findPlace, signal);
    },
    async close() {
      closed = true;
      const all = [...muxes.values(), ...(fresh ? [fresh] : [])];
      await Promise.all(all.map((mux) => mux.close()));
      await inner.close();
    },
  };
}

/** Equal for all that a server cannot tell apart by what they ask for: who they are does not count. */
function kindOf(params: Buffer): string {
  const {
    clientInfo: _,
    _meta: __,
    ...asked
  } = (params.length > 0 ? JSON.parse(params.toString()) : {}) as Record<string, unknown>;
  return createHash("sha256").update(inOrder(asked)).digest("base64");
}

/** JSON with all members in one order. */
function inOrder(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inOrder).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${inOrder(member)}`).join(",")}}`;
}
