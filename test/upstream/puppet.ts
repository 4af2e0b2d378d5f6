import { GatewayError, type Reason } from "../../src/errors.ts";
import type { LinkEnd, LinkEvents, Upstream } from "../../src/upstream/upstream.ts";
import type { Message } from "./recorder.ts";

/** A link whose server is the test: it sees what was sent, and says what it wants. */
export class PuppetLink {
  readonly sent: string[] = [];
  isPaused = false;
  isClosed = false;
  /** Set to refuse what is sent. */
  refusal: Reason | undefined;
  /** Resolves when the server reads again; undefined: it takes what is sent at once. */
  taking: Promise<void> | undefined;
  /** Called with each message that is sent. */
  onSent: ((message: Message) => void) | undefined;
  readonly #events: LinkEvents;

  constructor(events: LinkEvents) {
    this.#events = events;
  }

  send(message: Buffer): Promise<void> | undefined {
    if (this.refusal) return Promise.reject(new GatewayError(this.refusal));
    this.sent.push(message.toString());
    this.onSent?.(JSON.parse(message.toString()) as Message);
    return this.taking;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#events.onEnd("closed");
  }

  /** What was sent, read. */
  get messages(): Message[] {
    return this.sent.map((text) => JSON.parse(text) as Message);
  }

  get last(): Message {
    return this.messages.at(-1) as Message;
  }

  say(message: object | string): void {
    const text = typeof message === "string" ? message : JSON.stringify({ jsonrpc: "2.0", ...message });
    this.#events.onMessage(Buffer.from(text));
  }

  end(reason: LinkEnd): void {
    this.isClosed = true;
    this.#events.onEnd(reason);
  }
}

export interface Puppet extends Upstream {
  readonly links: PuppetLink[];
  /** Called for each link that is to be opened. */
  onOpen: ((link: PuppetLink, signal: AbortSignal) => void | Promise<void>) | undefined;
  isFull: boolean;
}

/** An upstream whose links are puppets. */
export function createPuppet(): Puppet {
  const links: PuppetLink[] = [];
  const puppet: Puppet = {
    name: "puppet",
    isFull: false,
    links,
    onOpen: undefined,
    async open(events, signal) {
      signal.throwIfAborted();
      const link = new PuppetLink(events);
      await puppet.onOpen?.(link, signal);
      links.push(link);
      return link;
    },
    async close() {
      await Promise.all(links.map((link) => link.close()));
    },
  };
  return puppet;
}
