import type { Log } from "../log.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import { objectText, valueOf, withoutMembers } from "./modern-members.ts";
import { ModernRequest } from "./modern-request.ts";
import { INTERNAL_ERROR, META, METHOD_NOT_FOUND } from "../protocol/modern-terms.ts";
import type { Upstream } from "./upstream.ts";

export interface ListenParts {
  upstream: Upstream;
  /** Gives a request what every request of the era carries. */
  stamp(request: Buffer): Buffer;
  /** To the client. */
  onMessage(message: Buffer): void;
  log: Log;
}

/** How long to wait before a stream that ended is opened again, in ms: doubling from the first to the last. */
const FIRST_WAIT_MS = 1000;
const LAST_WAIT_MS = 30_000;
const MAX_URIS = 1000;
/** How long a server may take to acknowledge, in ms. */
const ACKNOWLEDGE_MS = 30_000;
const CHANGES = [
  "notifications/tools/list_changed",
  "notifications/prompts/list_changed",
  "notifications/resources/list_changed",
  "notifications/resources/updated",
];

/** What the server said that it will tell. */
type Honored = Record<string, unknown> & { resourceSubscriptions?: unknown };

/** Why the server does not tell what it was asked to. */
export interface ListenRefusal {
  code: number;
  message: string;
}

/**
 * The one `subscriptions/listen` of a client that knows no such thing: its lists and its resources. It is opened anew
 * when the client's resources change, and when it ends by itself.
 */
export class LegacyListen {
  readonly #parts: ListenParts;
  #lists: Record<string, true> = {};
  #uris: ReadonlySet<string> = new Set();
  /** One change after the other: each is made to what the one before has left. */
  #turn: Promise<unknown> = Promise.resolve();
  #stream: ModernRequest | undefined;
  /** Streams on their way to take the place of `#stream`. */
  readonly #opening = new Set<ModernRequest>();
  #count = 0;
  #waitMs = FIRST_WAIT_MS;
  #timer: NodeJS.Timeout | undefined;
  #isPaused = false;
  #isClosed = false;

  constructor(parts: ListenParts) {
    this.#parts = parts;
  }

  /** Tells the client from now on when these lists change. */
  begin(lists: Record<string, true>): void {
    this.#lists = lists;
    void this.#inTurn(() => this.#open(this.#uris));
  }

  /** Tells the client from now on when this resource changes. Resolves when the server does, or with why it does not. */
  follow(uri: string): Promise<ListenRefusal | undefined> {
    return this.#inTurn(async () => {
      if (this.#uris.size >= MAX_URIS) return { code: INTERNAL_ERROR, message: "Too many subscriptions." };
      const uris = new Set([...this.#uris, uri]);
      const refusal = await this.#open(uris);
      if (refusal === undefined) this.#uris = uris;
      return refusal;
    });
  }

  /** Tells the client no more when this resource changes. */
  async forget(uri: string): Promise<void> {
    await this.#inTurn(async () => {
      const uris = new Set([...this.#uris].filter((other) => other !== uri));
      if (uris.size === this.#uris.size) return;
      this.#uris = uris;
      await this.#open(uris);
    });
  }

  pause(): void {
    this.#isPaused = true;
    for (const stream of this.#all()) stream.pause();
  }

  resume(): void {
    this.#isPaused = false;
    for (const stream of this.#all()) stream.resume();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await Promise.all([...this.#all()].map((stream) => stream.close()));
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  *#all(): Generator<ModernRequest> {
    if (this.#stream !== undefined) yield this.#stream;
    yield* this.#opening;
  }

  /** Opens a stream for what is wanted, beside the one there is, which then ends. */
  #open(uris: ReadonlySet<string>): Promise<ListenRefusal | undefined> {
    const filter: Record<string, unknown> = { ...this.#lists };
    if (uris.size > 0) filter["resourceSubscriptions"] = [...uris];
    if (Object.keys(filter).length === 0 || this.#isClosed) {
      void this.#stream?.close();
      this.#stream = undefined;
      return Promise.resolve(undefined);
    }
    return new Promise((settle) => {
      const timer = setTimeout(() => {
        refused(INTERNAL_ERROR, "The server did not acknowledge the subscription.");
        void stream.close();
      }, ACKNOWLEDGE_MS).unref();
      const refused = (code: number, message: string) => {
        clearTimeout(timer);
        this.#opening.delete(stream);
        settle({ code, message });
      };
      const stream: ModernRequest = new ModernRequest(this.#parts.upstream, {
        onNotice: (message, { method }) => {
          if (method === "notifications/subscriptions/acknowledged") {
            clearTimeout(timer);
            settle(this.#acknowledged(stream, message, uris));
          } else if (CHANGES.includes(method as string)) {
            this.#tell(message);
          }
        },
        onAnswer: (message, { failed }: Envelope) => {
          if (!failed) refused(INTERNAL_ERROR, "The server ended the subscription.");
          else
            refused(
              valueOf(message, ["error", "code"]) as number,
              String(valueOf(message, ["error", "message"])),
            );
          this.#ended(stream, failed && valueOf(message, ["error", "code"]) === METHOD_NOT_FOUND);
        },
        onLost: () => {
          refused(INTERNAL_ERROR, "The server ended the subscription.");
          this.#ended(stream, false);
        },
      });
      if (this.#isPaused) stream.pause();
      this.#opening.add(stream);
      stream.send(this.#request(filter)).catch((error: unknown) => {
        this.#parts.log.warn({ err: error }, "The server could not be asked to tell its changes");
        refused(INTERNAL_ERROR, "The server could not be asked to tell its changes.");
      });
    });
  }

  #request(filter: Record<string, unknown>): Buffer {
    this.#count += 1;
    const request = {
      jsonrpc: '"2.0"',
      id: `"listen-${this.#count}"`,
      method: '"subscriptions/listen"',
      params: JSON.stringify({ notifications: filter }),
    };
    return this.#parts.stamp(Buffer.from(objectText(request)));
  }

  #acknowledged(
    stream: ModernRequest,
    message: Buffer,
    uris: ReadonlySet<string>,
  ): ListenRefusal | undefined {
    const honored = (valueOf(message, ["params", "notifications"]) ?? {}) as Honored;
    const told = Array.isArray(honored.resourceSubscriptions) ? honored.resourceSubscriptions : [];
    if (!this.#opening.delete(stream)) return undefined;
    void this.#stream?.close();
    this.#stream = Object.keys(honored).length > 0 ? stream : undefined;
    this.#waitMs = FIRST_WAIT_MS;
    if ([...uris].every((uri) => told.includes(uri))) return undefined;
    return { code: METHOD_NOT_FOUND, message: "The server does not tell the changes of this resource." };
  }

  #tell(message: Buffer): void {
    this.#parts.onMessage(withoutMembers(message, ["params", "_meta"], [META.subscriptionId]));
  }

  /** The stream ended by itself: another one follows, and the client looks for what it may have missed. */
  #ended(stream: ModernRequest, isFinal: boolean): void {
    if (stream !== this.#stream || this.#isClosed) return;
    this.#stream = undefined;
    if (!isFinal) this.#later();
  }

  #later(): void {
    this.#timer = setTimeout(() => void this.#inTurn(() => this.#again()), this.#waitMs).unref();
    this.#waitMs = Math.min(this.#waitMs * 2, LAST_WAIT_MS);
  }

  async #again(): Promise<void> {
    if (this.#isClosed || this.#stream !== undefined) return;
    const refusal = await this.#open(this.#uris);
    if (this.#isClosed) return;
    if (this.#stream === undefined) {
      if (refusal !== undefined && refusal.code !== METHOD_NOT_FOUND) this.#later();
      return;
    }
    for (const list of Object.keys(this.#lists)) {
      this.#announce(`${list.replace("ListChanged", "")}/list_changed`);
    }
    for (const uri of this.#uris) this.#announce("resources/updated", { uri });
  }

  #announce(what: string, params?: { uri: string }): void {
    const message = { jsonrpc: "2.0", method: `notifications/${what}`, params };
    this.#parts.onMessage(Buffer.from(JSON.stringify(message)));
  }
}
