import type { Link, LinkEnd, LinkEvents, Upstream } from "./upstream.ts";

/** What a server says before anyone has its link; then it is paused. */
const MAX_HELD_BYTES = 64 * 1024;

/** A link that was opened before there was a session for it. */
export class WarmLink implements Link {
  readonly #onEnd: () => void;
  #link: Link | undefined;
  #events: LinkEvents | undefined;
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** Everything that was held has been handed out. */
  #isLive = false;
  #isPaused = false;
  #isClosing = false;
  #end: LinkEnd | undefined;

  private constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  /** @param onEnd called when the link ends, whether or not a session has it. */
  static async open(inner: Upstream, onEnd: () => void, signal: AbortSignal): Promise<WarmLink> {
    const warm = new WarmLink(onEnd);
    const events: LinkEvents = {
      onMessage: (message) => warm.#read(message),
      onEnd: (end) => warm.#finish(end),
    };
    warm.#link = await inner.open(events, signal);
    return warm;
  }

  get isEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Gives the link to a session, which hears what was said so far after this turn. */
  bind(events: LinkEvents): void {
    this.#events = events;
    setImmediate(() => this.#handOut());
  }

  send(message: Buffer): Promise<void> | undefined {
    return this.#link?.send(message);
  }

  pause(): void {
    this.#isPaused = true;
    this.#link?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#events) this.#handOut();
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#held = [];
    await this.#link?.close();
  }

  #read(message: Buffer): void {
    if (this.#isLive && this.#events) return this.#events.onMessage(message);
    if (this.#isClosing) return;
    this.#held.push(message);
    this.#heldBytes += message.length;
    if (this.#events === undefined && this.#heldBytes > MAX_HELD_BYTES) this.#link?.pause();
  }

  /** Hands out what is held, in order, as far as the session takes it. */
  #handOut(): void {
    while (!this.#isPaused || this.#end !== undefined) {
      const message = this.#held.shift();
      if (message === undefined) break;
      this.#events?.onMessage(message);
    }
    if (this.#held.length > 0) return;
    this.#isLive = true;
    if (!this.#isPaused) this.#link?.resume();
    if (this.#end !== undefined) this.#tellEnd(this.#end);
  }

  #finish(end: LinkEnd): void {
    this.#end = end;
    this.#onEnd();
    // A session that has just got the link hears first what is held, in its own turn.
    if (this.#isLive || (this.#events && (end === "closed" || this.#isPaused))) this.#handOut();
  }

  #tellEnd(end: LinkEnd): void {
    const events = this.#events;
    this.#events = undefined;
    events?.onEnd(end);
  }
}
