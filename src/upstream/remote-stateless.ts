import type { Exchange, RemoteHttp } from "./remote-http.ts";
import { repeatedHeaders } from "./remote-modern.ts";
import { openPost } from "./remote-post.ts";
import type { Outgoing, Wire, WireOptions, WireOwner } from "./remote-wire.ts";

/** Messages of the 2026-07-28 era: each POST is whole in itself, and its connection's end is its cancellation. */
export class StatelessWire implements Wire {
  readonly answersLate = false;
  readonly #http: RemoteHttp;
  readonly #maxMessageBytes: number;
  readonly #owner: WireOwner;
  readonly #posts = new Set<Exchange>();

  /** `http` is shared with other wires and stays open. */
  constructor({ http, maxMessageBytes, owner }: Omit<WireOptions, "url">) {
    this.#http = http;
    this.#maxMessageBytes = maxMessageBytes;
    this.#owner = owner;
  }

  async post(outgoing: Outgoing): Promise<void> {
    const { kind, id } = outgoing.envelope;
    const { exchange, taken } = openPost({
      ...outgoing,
      http: this.#http,
      headers: repeatedHeaders(outgoing.message, outgoing.envelope),
      maxMessageBytes: this.#maxMessageBytes,
      onMessage: (message) => this.#owner.receive(message),
      onTooLarge: () => this.#owner.gone("upstream_message_too_large"),
      onEnd: () => {
        this.#posts.delete(exchange);
        if (kind === "request") this.#owner.fail(id as string, "upstream_unreachable");
      },
    });
    if (this.#owner.isPaused) exchange.pause();
    this.#posts.add(exchange);
    try {
      await taken;
    } catch (error) {
      this.#posts.delete(exchange);
      throw error;
    }
  }

  pause(): void {
    for (const exchange of this.#posts) exchange.pause();
  }

  resume(): void {
    for (const exchange of this.#posts) exchange.resume();
  }

  async close(): Promise<void> {
    for (const exchange of this.#posts) exchange.abort();
  }
}
