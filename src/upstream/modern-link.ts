import { GatewayError } from "../errors.ts";
import { type Envelope, errorResponse, scanMessage } from "../protocol/json-rpc.ts";
import { discoveryOf } from "./modern-answer.ts";
import { type CallStream, ModernCall } from "./modern-call.ts";
import { type Identity, identityOf } from "./modern-identity.ts";
import { ModernListen } from "./modern-listen.ts";
import { idOf, membersAt, textOf, valueOf } from "./modern-members.ts";
import type { Parked } from "./modern-parked.ts";
import type { ModernPool } from "./modern-pool.ts";
import { INTERNAL_ERROR, INVALID_PARAMS, META, METHOD_NOT_FOUND } from "../protocol/modern-terms.ts";
import type { Link, LinkEnd, LinkEvents } from "./upstream.ts";

export interface ModernLinkParts {
  pool: ModernPool;
  parked: Parked<ModernCall>;
  /** Whose request it is. */
  caller: string;
  /** As in `ModernFrontOptions`. */
  answersDiscovery: boolean;
  events: LinkEvents;
  onGone(): void;
}

/** What servers with sessions know and the 2026-07-28 era does not. */
const GONE = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/** The link for one request of the 2026-07-28 era, to a server that knows only versions with `initialize`. */
export class ModernLink implements Link {
  readonly #parts: ModernLinkParts;
  readonly #gone = new AbortController();
  #stream: CallStream | undefined;
  #work: ModernCall | ModernListen | undefined;
  #isPaused = false;
  #closed: Promise<void> | undefined;

  constructor(parts: ModernLinkParts) {
    this.#parts = parts;
  }

  send(message: Buffer): Promise<void> | undefined {
    if (this.#closed !== undefined) return Promise.reject(new GatewayError("upstream_exited"));
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return Promise.reject(new GatewayError(envelope));
    if (envelope.kind === "request") return this.#begin(envelope, message);
    const isCancelled = envelope.method === "notifications/cancelled";
    if (isCancelled && idOf(message, ["params", "requestId"]) === this.#stream?.id) void this.#leave();
    // No other notification of a client is of this era.
    return undefined;
  }

  pause(): void {
    this.#isPaused = true;
    this.#work?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#work?.resume();
  }

  close(): Promise<void> {
    this.#closed ??= this.#end("closed");
    return this.#closed;
  }

  async #end(end: LinkEnd): Promise<void> {
    await this.#leave();
    this.#parts.onGone();
    this.#parts.events.onEnd(end);
  }

  async #leave(): Promise<void> {
    this.#gone.abort(new GatewayError("upstream_exited"));
    const stream = this.#stream;
    if (stream !== undefined) await this.#work?.leave(stream);
  }

  async #begin({ id, method }: Envelope, request: Buffer): Promise<void> {
    if (this.#stream !== undefined) throw new GatewayError("upstream_busy");
    const stream: CallStream = { request, id: id as string, onMessage: (message) => this.#tell(message) };
    this.#stream = stream;
    const name = method as string;
    if (textOf(request, ["params", "_meta", META.version]) === undefined)
      return this.#refuse(INVALID_PARAMS, `params._meta must have ${META.version}.`);
    if (GONE.includes(name) || name.startsWith("tasks/"))
      return this.#refuse(METHOD_NOT_FOUND, `${name} is not part of this version.`);
    const state = valueOf(request, ["params", "requestState"]);
    if (state !== undefined) return this.#goOn(stream, name, state);
    if (isDeclined(request))
      return this.#refuse(INTERNAL_ERROR, "The user did not go where the server asked to go.");
    const identity = identityOf(request, this.#parts.caller);
    if (name === "server/discover") return this.#discover(stream, identity);
    const { pool, parked } = this.#parts;
    const session = await pool.take(identity, this.#gone.signal);
    if (this.#gone.signal.aborted) return pool.give(session);
    const isListen = name === "subscriptions/listen";
    const work = isListen
      ? new ModernListen(session, pool, stream)
      : new ModernCall({ session, pool, parked, identity, method: name }, stream);
    this.#work = work;
    if (this.#isPaused) work.pause();
    await work.start();
  }

  async #discover({ id }: CallStream, identity: Identity): Promise<void> {
    const { pool, answersDiscovery } = this.#parts;
    if (!answersDiscovery) throw new GatewayError("upstream_era");
    if (pool.introduction === undefined) pool.give(await pool.take(identity, this.#gone.signal));
    if (pool.introduction !== undefined) this.#tellLater(discoveryOf(id, pool.introduction));
  }

  /** The client brings the input that an earlier request of it was answered to need. */
  async #goOn(stream: CallStream, method: string, state: unknown): Promise<void> {
    const { request } = stream;
    const identity = identityOf(request, this.#parts.caller);
    const call =
      typeof state === "string"
        ? this.#parts.parked.take(state, (waiting) => waiting.isRepeatedBy(method, request, identity))
        : undefined;
    if (call === undefined) {
      return this.#refuse(
        INVALID_PARAMS,
        "This requestState is not known: it is of another request, was used, has expired, or is of another instance of the gateway. Make the request anew, without it.",
      );
    }
    this.#work = call;
    if (this.#isPaused) call.pause();
    // Its answer may be here already, and must not come before `send` has returned.
    await Promise.resolve();
    const answers = membersAt(request, ["params", "inputResponses"]).map(
      ({ name, value }) => [name, value] as const,
    );
    await call.goOn(stream, new Map(answers));
  }

  #refuse(code: number, words: string): void {
    this.#tellLater(errorResponse(this.#stream?.id as string, code, words, "upstream_cannot"));
  }

  /** Not in the caller's own turn, or an answer could come before `send` has returned. */
  #tellLater(message: Buffer): void {
    setImmediate(() => this.#tell(message));
  }

  #tell(message: Buffer): void {
    if (this.#closed === undefined && !this.#gone.signal.aborted) this.#parts.events.onMessage(message);
  }
}

/** Whether the user was asked to go to a page, and did not. */
function isDeclined(request: Buffer): boolean {
  return membersAt(request, ["params", "inputResponses"]).some(({ name }) => {
    const action = valueOf(request, ["params", "inputResponses", name, "action"]);
    return action === "decline" || action === "cancel";
  });
}
