import { onOneLine, scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import { locate, textAt } from "../protocol/splice.ts";
import type { Exchange, RemoteHttp } from "./remote-http.ts";
import { repeatedHeaders } from "./remote-modern.ts";
import type { ToolParams } from "./remote-params.ts";
import { openPost, Refusal } from "./remote-post.ts";
import type { Outgoing, Wire, WireOptions, WireOwner } from "./remote-wire.ts";

export interface StatelessWireOptions extends Omit<WireOptions, "url"> {
  /** What is known of the server's tools. */
  params: ToolParams;
}

/** Messages of the 2026-07-28 era: each POST is whole in itself, and its connection's end is its cancellation. */
export class StatelessWire implements Wire {
  readonly answersLate = false;
  readonly #http: RemoteHttp;
  readonly #maxMessageBytes: number;
  readonly #owner: WireOwner;
  readonly #params: ToolParams;
  readonly #posts = new Set<Exchange>();

  /** `http` is shared with other wires and stays open. */
  constructor({ http, maxMessageBytes, owner, params }: StatelessWireOptions) {
    this.#http = http;
    this.#maxMessageBytes = maxMessageBytes;
    this.#owner = owner;
    this.#params = params;
  }

  async post(outgoing: Outgoing): Promise<void> {
    const { kind, id, method } = outgoing.envelope;
    const receive = (message: Buffer): void => {
      if (method === "tools/list") this.#params.learn(message);
      this.#owner.receive(message);
    };
    const fail = () => kind === "request" && this.#owner.fail(id as string, "upstream_unreachable");
    try {
      await this.#post(outgoing, receive, fail);
    } catch (error) {
      if (method !== "tools/call" || !lacksHeaders(error)) throw error;
      // It was refused before anything was carried out, so it may be said again as the server wants it.
      await this.#params.ask(outgoing.message, (request) => this.#ask(request));
      await this.#post(outgoing, receive, fail);
    }
  }

  async #ask(message: Buffer): Promise<Buffer> {
    const envelope = scanMessage(message) as Envelope;
    const { promise, resolve, reject } = deferred();
    const receive = (answer: Buffer): void => {
      const { id } = scanMessage(answer) as Partial<Envelope>;
      if (id === envelope.id) resolve(onOneLine(answer));
    };
    await this.#post({ message, envelope, onWritten: () => undefined }, receive, () =>
      reject(new Refusal(0)),
    );
    return promise;
  }

  async #post(outgoing: Outgoing, onMessage: (message: Buffer) => void, fail: () => void): Promise<void> {
    const { message, envelope } = outgoing;
    const { exchange, taken } = openPost({
      ...outgoing,
      http: this.#http,
      headers: { ...repeatedHeaders(message, envelope), ...this.#params.headersOf(message, envelope) },
      maxMessageBytes: this.#maxMessageBytes,
      onMessage,
      onTooLarge: () => this.#owner.gone("upstream_message_too_large"),
      onEnd: () => {
        this.#posts.delete(exchange);
        fail();
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

/** Whether the server refused a call because a header that repeats an argument is missing or wrong. */
function lacksHeaders(error: unknown): boolean {
  const answer = error instanceof Refusal ? error.answer : undefined;
  const code = answer && locate(answer, ["error", "code"]);
  return answer !== undefined && code !== undefined && textAt(answer, code) === "-32020";
}

function deferred() {
  let resolve!: (answer: Buffer) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<Buffer>((...both) => ([resolve, reject] = both));
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
