import { GatewayError } from "../errors.ts";
import { type Envelope, errorResponse, scanMessage } from "../protocol/json-rpc.ts";
import type { Identity } from "./modern-identity.ts";
import { objectText, textOf, withoutMembers } from "./modern-members.ts";
import { LEGACY_VERSIONS, METHOD_NOT_FOUND } from "../protocol/modern-terms.ts";
import type { Link, LinkEnd, Upstream } from "./upstream.ts";

/** Whom a session's server talks to. */
export interface Listener {
  /** An answer, a request or a notification. Pings, and answers to `ask`, are not among them. */
  onMessage(message: Buffer, envelope: Envelope): void;
  onEnd(end: LinkEnd): void;
}

/** What a server said of itself when it was initialised. */
export interface Introduction {
  /** JSON text. Without tasks, which are another thing in the other era. */
  readonly capabilities: string;
  readonly serverInfo: string;
  readonly instructions: string | undefined;
  readonly offered: Offered;
}

/** The capabilities that matter here. */
interface Offered {
  logging?: object;
  tools?: { listChanged?: boolean };
  prompts?: { listChanged?: boolean };
  resources?: { listChanged?: boolean; subscribe?: boolean };
}

/** An initialised link to a server that knows only versions with `initialize`. Used by one request at a time. */
export class ModernSession {
  /** As in `Identity`. */
  readonly caller: string;
  readonly key: string;
  introduction!: Introduction;
  /** The level of log messages that the server was told, if any. */
  level: string | undefined;
  /** Nobody: the server is told that there is no client. */
  listener: Listener | undefined;
  readonly #onEnd: () => void;
  readonly #asked = new Map<string, { resolve(answer: Buffer): void; reject(error: GatewayError): void }>();
  #link: Link | undefined;
  #count = 0;
  #end: LinkEnd | undefined;

  /** @param onEnd the link has ended. */
  constructor({ caller, key }: Identity, onEnd: () => void) {
    this.caller = caller;
    this.key = key;
    this.#onEnd = onEnd;
  }

  get isLive(): boolean {
    return this.#end === undefined;
  }

  /** Opens the link and introduces the client. Rejects with `upstream_start_failed` when the server refuses it. */
  async begin(direct: Upstream, identity: Identity, signal: AbortSignal): Promise<void> {
    const events = {
      onMessage: (message: Buffer) => this.#take(message),
      onEnd: (end: LinkEnd) => this.#ended(end),
    };
    this.#link = await direct.open(events, signal);
    const giveUp = (): void => this.#giveUp(new GatewayError("upstream_start_failed"));
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      const params = objectText({ protocolVersion: JSON.stringify(LEGACY_VERSIONS[0]), ...identity.params });
      const answer = await this.ask("initialize", params);
      const capabilities = textOf(withoutMembers(answer, ["result", "capabilities"], ["tasks"]), [
        ...["result", "capabilities"],
      ]);
      if (capabilities === undefined) throw new GatewayError("upstream_start_failed");
      this.introduction = {
        capabilities,
        serverInfo: textOf(answer, ["result", "serverInfo"]) ?? "{}",
        instructions: textOf(answer, ["result", "instructions"]),
        offered: (JSON.parse(capabilities) ?? {}) as Offered,
      };
      await this.send(Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}'));
    } catch (error) {
      await this.#link.close();
      throw error;
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  /** The id of the next request on this link, as JSON text. */
  nextId(): string {
    this.#count += 1;
    return String(this.#count);
  }

  /** As `Link.send`. */
  send(message: Buffer): Promise<void> | undefined {
    return this.#link?.send(message);
  }

  /** Tells the server, if it still listens. */
  tell(message: Buffer): void {
    this.#link?.send(message)?.catch(() => undefined);
  }

  /** Asks something that no client has asked for. Resolves with the answer, which may be an error. */
  async ask(method: string, params: string): Promise<Buffer> {
    if (this.#end !== undefined) throw new GatewayError("upstream_exited");
    const id = this.nextId();
    const answer = new Promise<Buffer>((resolve, reject) => this.#asked.set(id, { resolve, reject }));
    answer.catch(() => undefined);
    const words = { jsonrpc: '"2.0"', id, method: JSON.stringify(method), params };
    await this.send(Buffer.from(objectText(words)));
    return answer;
  }

  pause(): void {
    this.#link?.pause();
  }

  resume(): void {
    this.#link?.resume();
  }

  async close(): Promise<void> {
    await this.#link?.close();
  }

  #take(message: Buffer): void {
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return;
    const id = envelope.id as string;
    if (envelope.kind === "response" && this.#asked.has(id)) {
      this.#asked.get(id)?.resolve(message);
      this.#asked.delete(id);
    } else if (envelope.kind === "request" && envelope.method === "ping") {
      this.tell(Buffer.from(objectText({ jsonrpc: '"2.0"', id, result: "{}" })));
    } else if (this.listener !== undefined) {
      this.listener.onMessage(message, envelope);
    } else if (envelope.kind === "request") {
      this.tell(errorResponse(id, METHOD_NOT_FOUND, "There is no client now.", "upstream_cannot"));
    }
  }

  #ended(end: LinkEnd): void {
    this.#end = end;
    this.#giveUp(new GatewayError("upstream_exited"));
    this.#onEnd();
    this.listener?.onEnd(end);
  }

  #giveUp(error: GatewayError): void {
    for (const { reject } of this.#asked.values()) reject(error);
    this.#asked.clear();
  }
}
