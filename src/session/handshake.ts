import { scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import type { SessionRecord } from "../session-store/session-store.ts";

/** What of a handshake the session's record holds. */
export type Told = Pick<SessionRecord, "initialize" | "logLevel" | "subscriptions">;

/** Records are small: a larger `initialize` is not recorded, and further subscriptions are not. */
const MAX_INITIALIZE_BYTES = 8192;
const MAX_SUBSCRIPTIONS = 100;
const MAX_URI_LENGTH = 2048;

/** Ids of requests that the gateway itself sends to a server begin so; answers to them are for no client. */
const OWN_ID = "mcp-sse-gateway/";

/** Whether this is the id, as JSON text, of a request that the gateway itself made. */
export const isOwnId = (id: string | undefined): boolean => id?.startsWith(`"${OWN_ID}`) === true;

const request = (name: string, method: string, params: unknown): Buffer =>
  Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: OWN_ID + name, method, params }));

/** Asks a server for its tools on the gateway's own account. */
export const ASK_TOOLS = request("tools", "tools/list", {});
export const ASK_TOOLS_ID = `"${OWN_ID}tools"`;

const INITIALIZED = Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}');

/**
 * What a client has told its server about itself: how it introduced itself, which log level it wants, what it has
 * subscribed to. A fresh link is told the same, so that the client need not know that it is a fresh one.
 */
export class Handshake {
  #told: Told;

  constructor(told: Told = {}) {
    this.#told = told;
  }

  /** What was told so far. A new object with each change. */
  get told(): Told {
    return this.#told;
  }

  /** Whether a fresh link can be told: the client has introduced itself. */
  get isKnown(): boolean {
    return this.#told.initialize !== undefined;
  }

  /** Notes what a request that was given to the server tells. Whether that is anything new. */
  note({ method, paramsStart, paramsEnd }: Envelope, message: Buffer): boolean {
    const params = () => JSON.parse(message.toString("utf8", paramsStart, paramsEnd)) as { uri?: unknown };
    switch (method) {
      case "initialize":
        if (paramsEnd === 0 || paramsEnd - paramsStart > MAX_INITIALIZE_BYTES) return false;
        this.#told = { initialize: params() };
        return true;
      case "logging/setLevel":
        if (paramsEnd === 0 || paramsEnd - paramsStart > 1024) return false;
        this.#told = { ...this.#told, logLevel: params() };
        return true;
      case "resources/subscribe":
      case "resources/unsubscribe":
        return paramsEnd > 0 && this.#subscribe(params().uri, method === "resources/subscribe");
      default:
        return false;
    }
  }

  /**
   * Introduces the client to a fresh server: sends `initialize`, waits for its answer, and tells the rest. `send` gives
   * one message to the server; `answer` resolves with the answer to the `initialize`. Resolves with the notifications
   * that the client should get, since a fresh server may offer other things. Rejects when the server refuses.
   */
  async replay(
    send: (message: Buffer) => Promise<void> | undefined,
    answer: Promise<Buffer>,
  ): Promise<Buffer[]> {
    const { initialize, logLevel, subscriptions = [] } = this.#told;
    await send(request("initialize", "initialize", initialize));
    const { result } = JSON.parse((await answer).toString()) as { result?: Introduction };
    if (result === undefined) throw new Error("the server refused the replayed initialize");
    await send(INITIALIZED);
    if (logLevel !== undefined) await send(request("log-level", "logging/setLevel", logLevel));
    for (const [at, uri] of subscriptions.entries()) {
      await send(request(`subscribe-${at}`, "resources/subscribe", { uri }));
    }
    return LISTS.filter((list) => result.capabilities?.[list]?.listChanged === true).map((list) =>
      Buffer.from(`{"jsonrpc":"2.0","method":"notifications/${list}/list_changed"}`),
    );
  }

  #subscribe(uri: unknown, wants: boolean): boolean {
    const { subscriptions = [] } = this.#told;
    if (typeof uri !== "string" || uri.length > MAX_URI_LENGTH || subscriptions.includes(uri) === wants)
      return false;
    if (wants && subscriptions.length >= MAX_SUBSCRIPTIONS) return false;
    const next = wants ? [...subscriptions, uri] : subscriptions.filter((other) => other !== uri);
    this.#told = { ...this.#told, subscriptions: next };
    return true;
  }
}

const LISTS = ["tools", "prompts", "resources"] as const;

interface Introduction {
  capabilities?: Partial<Record<(typeof LISTS)[number], { listChanged?: boolean }>>;
}

/** Whether this message of the server answers the `initialize` that the gateway replayed. */
export function answersReplay(message: Buffer): boolean {
  const envelope = scanMessage(message);
  return (
    typeof envelope !== "string" && envelope.kind === "response" && envelope.id === `"${OWN_ID}initialize"`
  );
}
