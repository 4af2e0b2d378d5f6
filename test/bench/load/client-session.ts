import { type Socket, connect } from "node:net";
import { EventReader } from "./event-reader.ts";
import type { LoadPlan } from "./orders.ts";
import { headLines } from "./post-connection.ts";
import { ResponseReader } from "./response-reader.ts";

/** As much of a JSON-RPC message as the generator looks at. */
export interface Message {
  id?: number;
  method?: string;
  result?: { content?: { text?: string }[]; tools?: { name: string }[] };
  error?: { code: number; message: string };
}

/** Waits for the answer to one request; undefined when the stream ended first. */
export type OnAnswer = (message: Message | undefined) => void;

interface SessionEvents {
  onStray(): void;
  /** The stream ended after it had been opened. */
  onLost(): void;
}

/** One client's stream, with the calls that wait for an answer on it. */
export class ClientSession {
  path = "";
  isOpen = false;
  #nextId: number;
  readonly #pending = new Map<number, OnAnswer>();
  readonly #socket: Socket;
  readonly #events: SessionEvents;
  #status = 0;

  private constructor(plan: LoadPlan, index: number, events: SessionEvents) {
    this.#nextId = plan.disjointIds ? index * 10_000_000 : 0;
    this.#events = events;
    this.#socket = connect(plan.port, "127.0.0.1");
    this.#socket.setNoDelay(true);
    const head = headLines(plan.port, { Accept: "text/event-stream", ...plan.headers });
    this.#socket.write(`GET /mcp/sse HTTP/1.1\r\n${head}\r\n`, "latin1");
  }

  /** Resolves when the `endpoint` event is in. */
  static async open(plan: LoadPlan, index: number, events: SessionEvents): Promise<ClientSession> {
    const session = new ClientSession(plan, index, events);
    try {
      session.path = await session.#readEndpoint();
    } catch (error) {
      session.close();
      throw error;
    }
    session.isOpen = true;
    return session;
  }

  /** Draws the next id and waits for its answer. */
  expect(onAnswer: OnAnswer): number {
    const id = this.#nextId;
    this.#nextId += 1;
    this.#pending.set(id, onAnswer);
    return id;
  }

  /** Gives up on an answer; should it still come, it is a stray one. */
  forget(id: number): void {
    this.#pending.delete(id);
  }

  close(): void {
    this.isOpen = false;
    this.#socket.destroy();
  }

  #readEndpoint(): Promise<string> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no endpoint event within 30 s")), 30_000);
      const events = new EventReader((event, data) => {
        if (event === "message") this.#take(JSON.parse(data) as Message);
        else if (event === "endpoint") {
          clearTimeout(timer);
          const url = new URL(data, "http://127.0.0.1");
          resolve(url.pathname + url.search);
        }
      });
      const reader = new ResponseReader({
        onHead: (status) => {
          this.#status = status;
        },
        onBody: (bytes) => events.push(bytes),
        onEnd: () => this.#socket.destroy(),
      });
      this.#socket.on("data", (bytes) => reader.push(bytes as Buffer));
      this.#socket.on("error", () => undefined);
      this.#socket.on("close", () => {
        clearTimeout(timer);
        reject(new Error(`the stream was answered ${this.#status} and ended`));
        this.#lose();
      });
    });
  }

  #take(message: Message): void {
    const onAnswer = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (message.id === undefined || message.method !== undefined || onAnswer === undefined) {
      // Notifications belong to no call; everything else that nobody waits for is somebody else's.
      if (message.id !== undefined || message.method === undefined) this.#events.onStray();
      return;
    }
    this.#pending.delete(message.id);
    onAnswer(message);
  }

  #lose(): void {
    if (this.isOpen) this.#events.onLost();
    this.isOpen = false;
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const onAnswer of waiting) onAnswer(undefined);
  }
}
