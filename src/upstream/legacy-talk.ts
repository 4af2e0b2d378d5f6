import type { Log } from "../log.ts";
import { type Envelope, errorResponse, scanMessage } from "../protocol/json-rpc.ts";
import { FAULTS, GatewayError } from "../errors.ts";
import { Asks } from "./legacy-asks.ts";
import { LegacyCall } from "./legacy-call.ts";
import { discover, type Discovery, readDiscovery } from "./legacy-discovery.ts";
import { LegacyListen } from "./legacy-listen.ts";
import {
  idOf,
  type Members,
  objectText,
  textOf,
  valueOf,
  withMembers,
  withoutMembers,
} from "./modern-members.ts";
import { ModernRequest } from "./modern-request.ts";
import {
  INVALID_PARAMS,
  LEGACY_VERSIONS,
  META,
  METHOD_NOT_FOUND,
  MODERN_VERSION,
  TASKS_EXTENSION,
} from "../protocol/modern-terms.ts";
import type { LinkEvents, Upstream } from "./upstream.ts";

export interface TalkParts {
  /** The server, asked one request a link. */
  upstream: Upstream;
  /** To the client. */
  onMessage: LinkEvents["onMessage"];
  log: Log;
}

/** What can be cancelled. */
interface Running {
  pause(): void;
  resume(): void;
  close(): Promise<void>;
}

/** More requests than any session may have in flight. */
const MAX_RUNNING = 10_000;
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/** What one client of a version with `initialize` says, said to a server of the 2026-07-28 era, and back. */
export class LegacyTalk {
  readonly #parts: TalkParts;
  readonly #asks: Asks;
  readonly #listen: LegacyListen;
  readonly #running = new Map<string, Running>();
  /** What every request carries: who the client is and what it can. */
  #identity: Members = { [META.version]: `"${MODERN_VERSION}"`, [META.clientCapabilities]: "{}" };
  #discovery: Discovery | undefined;
  #isPaused = false;
  readonly #gone = new AbortController();

  constructor(parts: TalkParts) {
    this.#parts = parts;
    this.#asks = new Asks((message) => this.#tell(message));
    // With a log level it would count among the requests that a log message may be of.
    const stamp = (request: Buffer) =>
      withoutMembers(this.#stamp(request), ["params", "_meta"], [META.logLevel]);
    this.#listen = new LegacyListen({ ...parts, stamp });
  }

  /**
   * Resolves with the answer to an `initialize`, made of what the server says of itself; with undefined when it says
   * nothing in the 2026-07-28 era. Rejects when it cannot be asked.
   */
  async introduce(initialize: Buffer, id: string): Promise<Buffer | undefined> {
    const path = ["params", "capabilities"];
    const few = withoutMembers(
      withoutMembers(initialize, path, ["tasks"]),
      [...path, "extensions"],
      [TASKS_EXTENSION],
    );
    const info = textOf(initialize, ["params", "clientInfo"]);
    this.#identity = {
      [META.version]: `"${MODERN_VERSION}"`,
      [META.clientCapabilities]: textOf(few, path) ?? "{}",
      ...(info === undefined ? {} : { [META.clientInfo]: info }),
    };
    const { upstream } = this.#parts;
    const answer = await discover(upstream, (request) => this.#stamp(request), this.#gone.signal);
    this.#discovery = answer && readDiscovery(answer, upstream.name);
    if (this.#discovery === undefined) return undefined;
    const asked = valueOf(initialize, ["params", "protocolVersion"]) as string;
    const version = LEGACY_VERSIONS.includes(asked) ? asked : (LEGACY_VERSIONS[0] as string);
    const result = objectText({ protocolVersion: JSON.stringify(version), ...this.#discovery.result });
    return Buffer.from(objectText({ jsonrpc: '"2.0"', id, result }));
  }

  /** Takes one message of the client that is not `initialize`. As `Link.send`. */
  send(message: Buffer): Promise<void> | undefined {
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return undefined;
    if (envelope.kind === "response") this.#asks.take(envelope, message);
    else if (envelope.kind === "request") return this.#ask(envelope, message);
    else return this.#note(envelope, message);
    return undefined;
  }

  pause(): void {
    this.#isPaused = true;
    this.#listen.pause();
    for (const running of this.#running.values()) running.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#listen.resume();
    for (const running of this.#running.values()) running.resume();
  }

  async close(): Promise<void> {
    this.#gone.abort();
    const running = [...this.#running.values(), this.#listen];
    await Promise.all(running.map((one) => one.close()));
  }

  #note({ method }: Envelope, message: Buffer): undefined {
    if (method === "notifications/cancelled") {
      const id = idOf(message, ["params", "requestId"]);
      void this.#running.get(id ?? "")?.close();
    } else if (method === "notifications/initialized" && this.#discovery !== undefined) {
      this.#listen.begin(this.#discovery.lists);
    }
    // The era has no other notification of a client: what it can stands in each request.
    return undefined;
  }

  #ask(envelope: Envelope, message: Buffer): Promise<void> | undefined {
    const id = envelope.id as string;
    const method = envelope.method as string;
    if (textOf(message, ["params", "_meta", META.version]) !== undefined) return this.#pass(id, message);
    switch (method) {
      case "ping":
        this.#answer(id, "{}");
        return undefined;
      case "logging/setLevel":
        this.#setLevel(id, message);
        return undefined;
      case "resources/subscribe":
      case "resources/unsubscribe":
        void this.#subscribe(id, message, method === "resources/subscribe");
        return undefined;
    }
    if (method.startsWith("tasks/")) {
      const { rpcCode, message: words } = FAULTS.upstream_cannot;
      this.#refuse(id, rpcCode, words);
      return undefined;
    }
    return this.#call(id, method, message);
  }

  #call(id: string, method: string, message: Buffer): Promise<void> {
    const call: LegacyCall = new LegacyCall({
      upstream: this.#parts.upstream,
      id,
      method,
      request: this.#stamp(message),
      asks: this.#asks,
      onMessage: (answer) => this.#tell(answer),
      onDone: () => this.#leave(id, call),
    });
    return this.#enter(id, call) ?? call.start();
  }

  /** A client of the 2026-07-28 era says such things in a session too: they go as they are. */
  async #pass(id: string, message: Buffer): Promise<void> {
    const over = (answer: Buffer) => {
      this.#leave(id, request);
      this.#tell(answer);
    };
    const request: ModernRequest = new ModernRequest(this.#parts.upstream, {
      onNotice: (notice) => this.#tell(notice),
      onAnswer: over,
      onLost: (end) => {
        const { words, message: why, reason } = new GatewayError(end === "closed" ? "upstream_exited" : end);
        over(errorResponse(id, words.rpcCode, why, reason));
      },
    });
    const full = this.#enter(id, request);
    if (full !== undefined) return full;
    await request.send(message).catch((error: unknown) => {
      this.#leave(id, request);
      throw error;
    });
  }

  #enter(id: string, running: Running): Promise<void> | undefined {
    if (this.#gone.signal.aborted) return Promise.reject(new GatewayError("upstream_exited"));
    if (this.#running.size >= MAX_RUNNING) return Promise.reject(new GatewayError("upstream_busy"));
    this.#running.set(id, running);
    if (this.#isPaused) running.pause();
    return undefined;
  }

  #leave(id: string, running: Running): void {
    if (this.#running.get(id) === running) this.#running.delete(id);
  }

  #setLevel(id: string, message: Buffer): void {
    const level = valueOf(message, ["params", "level"]);
    if (this.#discovery?.hasLogging !== true) return this.#refuse(id, METHOD_NOT_FOUND, "Method not found");
    if (typeof level !== "string" || !LEVELS.includes(level))
      return this.#refuse(id, INVALID_PARAMS, "There is no such level.");
    this.#identity = { ...this.#identity, [META.logLevel]: `"${level}"` };
    this.#answer(id, "{}");
  }

  async #subscribe(id: string, message: Buffer, wants: boolean): Promise<void> {
    const uri = valueOf(message, ["params", "uri"]);
    if (this.#discovery?.hasSubscriptions !== true)
      return this.#refuse(id, METHOD_NOT_FOUND, "Method not found");
    if (typeof uri !== "string") return this.#refuse(id, INVALID_PARAMS, "A uri is needed.");
    const refusal = await (wants ? this.#listen.follow(uri) : this.#listen.forget(uri));
    if (refusal === undefined) this.#answer(id, "{}");
    else this.#refuse(id, refusal.code, refusal.message);
  }

  #stamp(request: Buffer): Buffer {
    return withMembers(request, ["params", "_meta"], this.#identity);
  }

  #answer(id: string, result: string): void {
    this.#tellLater(Buffer.from(objectText({ jsonrpc: '"2.0"', id, result })));
  }

  #refuse(id: string, code: number, words: string): void {
    this.#tellLater(errorResponse(id, code, words, "upstream_cannot"));
  }

  /** Not in the caller's own turn, or an answer could come before `send` has returned. */
  #tellLater(message: Buffer): void {
    queueMicrotask(() => this.#tell(message));
  }

  #tell(message: Buffer): void {
    if (!this.#gone.signal.aborted) this.#parts.onMessage(message);
  }
}
