import { randomUUID } from "node:crypto";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { isJSONRPCRequest, type JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { idOf, withMembers } from "./modern-members.ts";
import type { Link, LinkEvents, Upstream } from "./upstream.ts";

/** What we need of an MCP server in this process; the SDK's `McpServer` and `Server` have it. */
export interface ConnectableServer {
  connect(transport: Transport): Promise<void>;
  close(): Promise<void>;
}

export interface BuiltinUpstreamOptions {
  name: string;
  /** Makes the server of one link. */
  createServer: () => ConnectableServer;
  log: Log;
}

/** A server in our own process, one object for each session. */
export function createBuiltinUpstream({ name, createServer, log }: BuiltinUpstreamOptions): Upstream {
  const links = new Set<BuiltinLink>();
  let closed = false;
  return {
    name,
    isFull: false,
    async open(events, signal) {
      signal.throwIfAborted();
      if (closed) throw new GatewayError("upstream_start_failed");
      try {
        const link = new BuiltinLink(createServer(), events, log, () => links.delete(link));
        await link.start();
        links.add(link);
        return link;
      } catch (cause) {
        log.error({ err: cause, server: name }, "The server could not be started");
        throw new GatewayError("upstream_start_failed", { cause });
      }
    },
    async close() {
      closed = true;
      await Promise.all([...links].map((link) => link.close()));
    },
  };
}

interface HeldMessage {
  message: Buffer;
  delivered: () => void;
}

/** More than this is handed out in spite of a pause, so that the limit of the session's outbox decides. */
const MAX_HELD_BYTES = 4 * 1024 * 1024;

class BuiltinLink implements Link {
  readonly #server: ConnectableServer;
  readonly #events: LinkEvents;
  readonly #log: Log;
  readonly #onGone: () => void;
  readonly #transport: Transport;
  readonly #held: HeldMessage[] = [];
  #heldBytes = 0;
  #paused = false;
  #closing = false;
  #ended = false;
  #closed: Promise<void> | undefined;

  constructor(server: ConnectableServer, events: LinkEvents, log: Log, onGone: () => void) {
    this.#server = server;
    this.#events = events;
    this.#log = log;
    this.#onGone = onGone;
    this.#transport = {
      start: async () => {},
      send: async (message) => this.#take(message),
      close: async () => this.#finish(),
    };
  }

  start(): Promise<void> {
    return this.#server.connect(this.#transport);
  }

  send(message: Buffer): Promise<void> | undefined {
    if (!this.#isLive()) return Promise.reject(new GatewayError("upstream_exited"));
    // Not in the caller's own turn, or an answer could come before `send` has returned.
    queueMicrotask(() => this.#give(message));
    return undefined;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    while (!this.#paused && this.#deliverHeld());
  }

  close(): Promise<void> {
    this.#closed ??= this.#closeServer();
    return this.#closed;
  }

  async #closeServer(): Promise<void> {
    this.#closing = true;
    this.#release();
    try {
      await this.#server.close();
    } catch (error) {
      this.#log.warn({ err: error }, "The built-in server failed to close");
    }
    this.#finish();
  }

  #isLive(): boolean {
    return !this.#closing && !this.#ended;
  }

  #give(message: Buffer): void {
    if (!this.#isLive()) return;
    try {
      const parsed = withSafeIds(withoutVendorMembers(JSON.parse(message.toString())), message);
      if (parsed.method !== undefined && parsed.id !== undefined && !isJSONRPCRequest(parsed)) {
        void this.#take(refusal(parsed.id, -32602, "Invalid params"));
      } else {
        this.#transport.onmessage?.(parsed as JSONRPCMessage);
      }
    } catch (error) {
      this.#log.warn({ err: error }, "The built-in server failed on a message");
    }
  }

  /** Resolves when the message is handed out, so that a tool which awaits its notifications is slowed by a pause. */
  async #take(message: JSONRPCMessage): Promise<void> {
    if (!this.#isLive()) return;
    const bytes = encode(message);
    if (!this.#paused && this.#held.length === 0) {
      this.#events.onMessage(bytes);
      return;
    }
    await new Promise<void>((delivered) => {
      this.#held.push({ message: bytes, delivered });
      this.#heldBytes += bytes.length;
      while (this.#heldBytes > MAX_HELD_BYTES) this.#deliverHeld();
    });
  }

  #deliverHeld(): boolean {
    const held = this.#held.shift();
    if (!held) return false;
    this.#heldBytes -= held.message.length;
    if (this.#isLive()) this.#events.onMessage(held.message);
    held.delivered();
    return true;
  }

  #release(): void {
    while (this.#deliverHeld());
  }

  #finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#release();
    this.#transport.onclose?.();
    this.#onGone();
    this.#events.onEnd(this.#closing ? "closed" : "upstream_exited");
  }
}

/** Before an id that JavaScript cannot hold as a number: the server has it as text. */
const LARGE = `${randomUUID()}/`;

function withSafeIds(parsed: LooseMessage, message: Buffer): LooseMessage {
  if (isLarge(parsed.id)) parsed.id = LARGE + idOf(message, ["id"]);
  const params = parsed.params as { requestId?: unknown } | undefined;
  if (parsed.method === "notifications/cancelled" && isLarge(params?.requestId)) {
    parsed.params = { ...params, requestId: LARGE + idOf(message, ["params", "requestId"]) };
  }
  return parsed;
}

const isLarge = (id: unknown): boolean => typeof id === "number" && !Number.isSafeInteger(id);

type LooseMessage = Partial<Record<"jsonrpc" | "id" | "method" | "params" | "result" | "error", unknown>>;

/** The SDK silently drops a message with a member that it does not know, and the client would wait for ever. */
function withoutVendorMembers(message: LooseMessage): LooseMessage {
  const known: LooseMessage = {};
  for (const name of ["jsonrpc", "id", "method", "params", "result", "error"] as const) {
    if (message[name] !== undefined) known[name] = message[name];
  }
  return known;
}

const refusal = (id: unknown, code: number, message: string): JSONRPCMessage =>
  ({ jsonrpc: "2.0", id, error: { code, message } }) as JSONRPCMessage;

/** A result that cannot be written as JSON becomes an error: each request has an outcome. */
function encode(message: JSONRPCMessage): Buffer {
  try {
    const bytes = Buffer.from(JSON.stringify(message));
    const id = "id" in message ? message.id : undefined;
    const isLargeId = typeof id === "string" && id.startsWith(LARGE);
    return isLargeId ? withMembers(bytes, [], { id: id.slice(LARGE.length) }) : bytes;
  } catch (error) {
    if (!("result" in message)) throw error;
    return encode(refusal(message.id, -32603, "Internal error"));
  }
}
