import type { Sealed } from "./envelope.ts";

/**
 * How many listeners a channel had when a message was published there. `unknown`: it may or may not have been
 * published. `unreachable`: it was not, and will not be.
 */
export type Published = number | "unknown" | "unreachable";

/** What is published: a message, an answer, or a word to see whether one hears oneself. */
export type Publication = Sealed | "ping";

export interface ListenerEvents {
  /** What is published from now on arrives. */
  onUp(): void;
  onDown(): void;
  onPublication(publication: Publication): void;
}

/** The one listener to a channel. It connects again by itself after each loss. */
export interface Listener {
  /** Drops a connection that is there and hears nothing, and opens another. */
  restart(): void;
  /** Safe to call twice. */
  close(): Promise<void>;
}

/** Channels of a store: whoever listens to one gets what is published there, and it is kept for nobody. */
export interface Channels {
  /** Resolves once publishing is possible. Never rejects. */
  readonly opened: Promise<void>;
  /** Never rejects, and resolves within `deadlineMs`. */
  publish(channel: string, publication: Publication, deadlineMs: number): Promise<Published>;
  listen(channel: string, events: ListenerEvents): Listener;
  /** Lets go of what publishes. Safe to call twice. */
  close(): Promise<void>;
}

/** Milliseconds until the next attempt to connect: 0.2 s and more, doubling to `maxMs` and more, never in step with other instances. */
export const reconnectDelayMs = (attempt: number, maxMs: number): number =>
  Math.min(200 * 2 ** Math.min(attempt, 10), maxMs) * (1 + Math.random() * 0.5);

/** What `work` brings, or `late` when it takes longer than `milliseconds` or rejects. */
export function within<T, L>(milliseconds: number, work: Promise<T>, late: L): Promise<T | L> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(late), milliseconds);
    const settle = (value: T | L): void => (clearTimeout(timer), resolve(value));
    work.then(settle, () => settle(late));
  });
}
