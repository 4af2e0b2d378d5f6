import { Calls } from "./calls.ts";
import type { ClientSession, SessionEvents } from "./client-session.ts";
import { EventStream } from "./event-stream.ts";
import { readMessage } from "./message.ts";
import type { LoadPlan } from "./orders.ts";
import { PostConnection } from "./post-connection.ts";

const ENDPOINT_WITHIN_MS = 30_000;

/** HTTP+SSE: one stream for all answers. */
export class SseSession implements ClientSession {
  readonly takenStatus = 202;
  readonly calls: Calls;
  endpointMs = Number.NaN;
  path = "";
  isOpen = false;
  readonly #plan: LoadPlan;
  readonly #startedAt = performance.now();
  readonly #onLost: () => void;
  readonly #connections: PostConnection[] = [];
  #stream: EventStream | undefined;

  constructor(plan: LoadPlan, index: number, { onStray, onLost }: SessionEvents) {
    this.#plan = plan;
    this.#onLost = onLost;
    this.calls = new Calls(plan, index, onStray);
  }

  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no endpoint event within 30 s")), ENDPOINT_WITHIN_MS);
      this.#stream = new EventStream(this.#plan.port, this.#plan.path, this.#plan.headers, {
        onEvent: (event, data) => {
          if (event === "message") this.calls.take(readMessage(data));
          else if (event === "endpoint") {
            clearTimeout(timer);
            this.#begin(data);
            resolve();
          }
        },
        onEnd: (status) => {
          clearTimeout(timer);
          reject(new Error(`the stream was answered ${status} and ended`));
          this.#lose();
        },
      });
    });
  }

  connect(): PostConnection {
    const connection = new PostConnection(this.#plan.port, this.#plan.headers);
    this.#connections.push(connection);
    return connection;
  }

  begin(): void {}

  async listen(): Promise<void> {}

  close(): void {
    this.isOpen = false;
    this.#stream?.close();
    for (const connection of this.#connections) connection.close();
  }

  #begin(endpoint: string): void {
    const url = new URL(endpoint, "http://127.0.0.1");
    this.path = url.pathname + url.search;
    this.endpointMs = performance.now() - this.#startedAt;
    this.isOpen = true;
  }

  #lose(): void {
    if (this.isOpen) this.#onLost();
    this.isOpen = false;
    this.calls.lose();
  }
}
