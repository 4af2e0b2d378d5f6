import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { plainRules, type TrunkRules } from "./mux-rules.ts";
import { Trunk } from "./mux-trunk.ts";
import type { Link, LinkEvents, Upstream } from "./upstream.ts";

export interface MuxOptions {
  /** After so long without links the one to the server is closed, in milliseconds. 0 means never. */
  idleMs: number;
  /** Default: everything goes on, and what names nobody goes to the only one whom it can be for. */
  createRules?: (trunk: Trunk) => TrunkRules;
  log: Log;
}

/** The link to the server that is in use, or is being opened. */
interface Current {
  readonly trunk: Trunk;
  readonly opened: Promise<Trunk>;
  readonly giveUp: AbortController;
  isOpen: boolean;
}

/**
 * One link of `inner` for all links that are opened here. Ids, progress tokens and subscription ids are made unique on
 * the way to the server and are the client's own again on the way back; all other bytes stay. A client never sees what
 * is another's. Closing a link cancels its requests at the server. When the server ends, so do all links, and the next
 * one starts it again.
 *
 * A link that is paused holds up to 4 MiB and is then ended with `upstream_busy`, for its reader must not slow the
 * others; only while all are paused is the server paused itself.
 */
export function createMux(inner: Upstream, options: MuxOptions): Mux {
  return new Mux(inner, options);
}

export class Mux implements Upstream {
  readonly name: string;
  readonly #inner: Upstream;
  readonly #options: MuxOptions;
  #current: Current | undefined;
  #openers = 0;
  #idleTimer: NodeJS.Timeout | undefined;
  #isRetired = false;
  #closed = false;

  constructor(inner: Upstream, options: MuxOptions) {
    this.name = inner.name;
    this.#inner = inner;
    this.#options = options;
  }

  get isFull(): boolean {
    return this.#current === undefined && this.#inner.isFull;
  }

  /** Whether there is a link to the server, or will be. */
  get isInUse(): boolean {
    return this.#current !== undefined;
  }

  /** Links that are open. */
  get links(): number {
    return (this.#current?.trunk.branches.size ?? 0) + this.#openers;
  }

  async open(events: LinkEvents, signal: AbortSignal): Promise<Link> {
    signal.throwIfAborted();
    if (this.#closed) throw new GatewayError("upstream_start_failed");
    clearTimeout(this.#idleTimer);
    this.#current ??= this.#start();
    this.#openers += 1;
    try {
      const trunk = await orAborted(this.#current.opened, signal);
      if (!trunk.isLive) throw new GatewayError("upstream_start_failed");
      return trunk.open(events);
    } finally {
      this.#openers -= 1;
      this.#lookIdle();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#idleTimer);
    const current = this.#current;
    current?.giveUp.abort(new GatewayError("upstream_start_failed"));
    await current?.trunk.close();
    await this.#inner.close();
  }

  /** Closes the link to the server as soon as nobody has it, whatever `idleMs` says. */
  retire(): void {
    this.#isRetired = true;
    this.#lookIdle();
  }

  #start(): Current {
    const giveUp = new AbortController();
    const forget = (): void => {
      if (this.#current === current) this.#current = undefined;
    };
    const { log, createRules = plainRules } = this.#options;
    const trunk = new Trunk({ createRules, log, onEmpty: () => this.#lookIdle(), onEnd: forget });
    const opened = this.#openTrunk(trunk, giveUp.signal).then(
      () => {
        current.isOpen = true;
        return trunk;
      },
      (error: unknown) => {
        forget();
        throw error;
      },
    );
    const current: Current = { trunk, opened, giveUp, isOpen: false };
    opened.catch(() => undefined);
    return current;
  }

  async #openTrunk(trunk: Trunk, signal: AbortSignal): Promise<void> {
    const link = await this.#inner.open(trunk.events, signal);
    trunk.use(link);
    try {
      signal.throwIfAborted();
      await orAborted(trunk.rules.begin?.() ?? Promise.resolve(), signal);
    } catch (error) {
      await trunk.close();
      throw error;
    }
  }

  /** Closes the link to the server after a while when nobody has it, and at once when nobody waits for it to open. */
  #lookIdle(): void {
    const current = this.#current;
    if (current === undefined || this.links > 0) return;
    if (!current.isOpen) {
      this.#current = undefined;
      current.giveUp.abort(new GatewayError("upstream_start_failed"));
      return;
    }
    const { idleMs } = this.#options;
    clearTimeout(this.#idleTimer);
    if (this.#isRetired) void current.trunk.close();
    else if (idleMs > 0) this.#idleTimer = setTimeout(() => void current.trunk.close(), idleMs).unref();
  }
}

/** Rejects with the signal's reason when it gives up first. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let giveUp: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    giveUp = () => reject(signal.reason);
    signal.addEventListener("abort", giveUp);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (giveUp) signal.removeEventListener("abort", giveUp);
  }
}
