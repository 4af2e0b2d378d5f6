import type { Envelope } from "../protocol/json-rpc.ts";
import { errorResponse } from "../protocol/json-rpc.ts";
import { faultOf } from "./legacy-call.ts";
import { modernAnswer, response } from "./modern-answer.ts";
import { textOf, valueOf, withMembers } from "./modern-members.ts";
import type { CallStream } from "./modern-call.ts";
import type { ModernPool } from "./modern-pool.ts";
import type { ModernSession } from "./modern-session.ts";
import { INVALID_PARAMS, META, METHOD_NOT_FOUND } from "../protocol/modern-terms.ts";
import type { LinkEnd } from "./upstream.ts";

/** What a client wants to be told. */
interface Filter {
  toolsListChanged?: unknown;
  promptsListChanged?: unknown;
  resourcesListChanged?: unknown;
  resourceSubscriptions?: unknown;
}

const MAX_URIS = 1000;
/** What the server says before it is known what is told: more is not kept. */
const MAX_EARLY = 100;

/** A `subscriptions/listen`, on a link of its own to a server that knows no such thing: it tells its changes by itself. */
export class ModernListen {
  readonly #session: ModernSession;
  readonly #pool: ModernPool;
  readonly #stream: CallStream;
  readonly #told = new Set<string>();
  readonly #uris = new Set<string>();
  #early: Buffer[] | undefined = [];
  #isOver = false;

  constructor(session: ModernSession, pool: ModernPool, stream: CallStream) {
    this.#session = session;
    this.#pool = pool;
    this.#stream = stream;
    session.listener = {
      onMessage: (message, envelope) => this.#take(message, envelope),
      onEnd: (end) => this.#ended(end),
    };
  }

  /** Asks the server for what is wanted, acknowledges what it agrees to, and tells it from then on. */
  async start(): Promise<void> {
    const { request, id } = this.#stream;
    const filter = valueOf(request, ["params", "notifications"]) as Filter | null | undefined;
    const uris = filter?.resourceSubscriptions ?? [];
    if (typeof filter !== "object" || filter === null || !isUris(uris)) {
      const words = `params.notifications must say what is wanted, and at most ${MAX_URIS} resources.`;
      return this.#finish(errorResponse(id, INVALID_PARAMS, words, "upstream_cannot"));
    }
    const honored: Record<string, unknown> = {};
    const { offered } = this.#session.introduction;
    for (const list of ["tools", "prompts", "resources"] as const) {
      if (filter[`${list}ListChanged`] !== true || offered[list]?.listChanged !== true) continue;
      honored[`${list}ListChanged`] = true;
      this.#told.add(`notifications/${list}/list_changed`);
    }
    if (offered.resources?.subscribe === true) {
      await Promise.all(uris.map((uri) => this.#subscribe(uri)));
      if (this.#uris.size > 0) honored["resourceSubscriptions"] = uris.filter((uri) => this.#uris.has(uri));
    }
    if (this.#isOver) return;
    this.#acknowledge(honored);
    if (Object.keys(honored).length > 0) return;
    const ended = response(id, { _meta: `{${JSON.stringify(META.subscriptionId)}:${id}}` });
    this.#finish(modernAnswer("subscriptions/listen", ended, this.#session.introduction));
  }

  pause(): void {
    this.#session.pause();
  }

  resume(): void {
    this.#session.resume();
  }

  /** The client listens no more. */
  async leave(): Promise<void> {
    this.#isOver = true;
    await this.#pool.drop(this.#session);
  }

  async #subscribe(uri: string): Promise<void> {
    // When the link ends, that is the outcome of the whole.
    const answer = await this.#session
      .ask("resources/subscribe", JSON.stringify({ uri }))
      .catch(() => undefined);
    if (answer !== undefined && textOf(answer, ["result"]) !== undefined) this.#uris.add(uri);
  }

  #acknowledge(honored: Record<string, unknown>): void {
    const notice = {
      jsonrpc: "2.0",
      method: "notifications/subscriptions/acknowledged",
      params: { notifications: honored },
    };
    this.#tell(Buffer.from(JSON.stringify(notice)));
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const message of early) this.#consider(message);
  }

  #take(message: Buffer, { kind, id }: Envelope): void {
    if (this.#isOver) return;
    if (kind === "request") {
      const words = "Nothing can be asked of a client that listens.";
      this.#session.tell(errorResponse(id as string, METHOD_NOT_FOUND, words, "upstream_cannot"));
    } else if (kind === "notification") {
      if (this.#early === undefined) this.#consider(message);
      else if (this.#early.length < MAX_EARLY) this.#early.push(message);
    }
  }

  #consider(message: Buffer): void {
    const method = valueOf(message, ["method"]) as string;
    const isWanted =
      method === "notifications/resources/updated"
        ? this.#uris.has(valueOf(message, ["params", "uri"]) as string)
        : this.#told.has(method);
    if (isWanted) this.#tell(message);
  }

  #tell(message: Buffer): void {
    const { id, onMessage } = this.#stream;
    onMessage(withMembers(message, ["params", "_meta"], { [META.subscriptionId]: id }));
  }

  #ended(end: LinkEnd): void {
    const { words, message, reason } = faultOf(end);
    this.#finish(errorResponse(this.#stream.id, words.rpcCode, message, reason));
  }

  #finish(answer: Buffer): void {
    if (this.#isOver) return;
    this.#isOver = true;
    void this.#pool.drop(this.#session);
    this.#stream.onMessage(answer);
  }
}

const isUris = (uris: unknown): uris is string[] =>
  Array.isArray(uris) && uris.length <= MAX_URIS && uris.every((uri) => typeof uri === "string");
