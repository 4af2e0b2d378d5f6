import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { LinkEvents, Upstream } from "./upstream.ts";
import { WarmLink } from "./warm-link.ts";

export interface PoolOptions {
  /** How many links are kept open ahead. */
  size: number;
  /** After so long without an open they are closed, until the next open, in milliseconds. 0 means never. */
  idleMs: number;
  log: Log;
}

export interface PoolUpstream extends Upstream {
  /** Links that are ready to be handed out. */
  readonly warm: number;
  /** Opens links ahead, before the first is asked for. */
  start(): void;
}

/** The one who was just served is answered before another server is started. */
const REFILL_DELAY_MS = 100;
const FIRST_BACKOFF_MS = 1000;
const MAX_BACKOFF_MS = 60_000;

/**
 * Keeps links of `inner` open ahead, so that a session does not wait for its server to start. When there is none left
 * a link is opened as if there were no pool; links are opened ahead only while `inner` has room.
 */
export function poolUpstream(inner: Upstream, { size, idleMs, log }: PoolOptions): PoolUpstream {
  const warm = new Set<WarmLink>();
  let opening = 0;
  /** Opens that wait for a server of their own, which go before those that are for nobody yet. */
  let cold = 0;
  let failures = 0;
  /** Set while links are opened ahead; its end gives up those that are not open yet. */
  let awake: AbortController | undefined;
  let refillTimer: NodeJS.Timeout | undefined;
  let idleTimer: NodeJS.Timeout | undefined;
  let closed = false;

  function refill(delayMs = REFILL_DELAY_MS): void {
    if (refillTimer !== undefined) return;
    refillTimer = setTimeout(() => {
      refillTimer = undefined;
      fill();
    }, delayMs).unref();
  }

  function fill(): void {
    if (awake === undefined || refillTimer !== undefined || cold > 0) return;
    for (let missing = size - warm.size - opening; missing > 0 && !inner.isFull; missing -= 1) {
      void openAhead(awake.signal);
    }
  }

  async function openAhead(signal: AbortSignal): Promise<void> {
    opening += 1;
    try {
      let link: WarmLink | undefined;
      link = await WarmLink.open(inner, () => ended(link), signal);
      opening -= 1;
      if (signal.aborted) await link.close();
      else if (link.isEnded) failed();
      else warm.add(link);
    } catch {
      opening -= 1;
      if (!signal.aborted) failed();
    }
  }

  /** A link has ended: a warm one is not what was hoped for, any other has made room. */
  function ended(link: WarmLink | undefined): void {
    if (link && warm.delete(link)) failed();
    else refill();
  }

  function failed(): void {
    if (awake === undefined) return;
    const backoffMs = Math.min(FIRST_BACKOFF_MS * 2 ** failures, MAX_BACKOFF_MS);
    if (failures === 0) log.warn({ server: inner.name }, "A server that was started ahead did not last");
    failures += 1;
    clearTimeout(refillTimer);
    refillTimer = undefined;
    refill(backoffMs);
  }

  function wake(): void {
    awake ??= new AbortController();
    clearTimeout(idleTimer);
    if (idleMs > 0) idleTimer = setTimeout(() => void sleep(), idleMs).unref();
  }

  async function sleep(): Promise<void> {
    clearTimeout(idleTimer);
    clearTimeout(refillTimer);
    refillTimer = undefined;
    awake?.abort(new GatewayError("upstream_start_failed"));
    awake = undefined;
    const links = [...warm];
    warm.clear();
    await Promise.all(links.map((link) => link.close()));
  }

  function takeWarm(events: LinkEvents): WarmLink | undefined {
    const [link] = warm;
    if (link === undefined) return undefined;
    warm.delete(link);
    failures = 0;
    link.bind(events);
    return link;
  }

  async function openCold(events: LinkEvents, signal: AbortSignal) {
    cold += 1;
    try {
      return await inner.open(
        {
          onMessage: (message) => events.onMessage(message),
          onEnd(end) {
            events.onEnd(end);
            refill();
          },
        },
        signal,
      );
    } finally {
      cold -= 1;
    }
  }

  return {
    name: inner.name,
    get isFull() {
      return warm.size === 0 && inner.isFull;
    },
    get warm() {
      return warm.size;
    },
    start() {
      if (closed) return;
      wake();
      fill();
    },
    async open(events, signal) {
      signal.throwIfAborted();
      if (closed) throw new GatewayError("upstream_start_failed");
      wake();
      try {
        return takeWarm(events) ?? (await openCold(events, signal));
      } finally {
        if (!closed) refill();
      }
    },
    async close() {
      closed = true;
      await sleep();
      await inner.close();
    },
  };
}
