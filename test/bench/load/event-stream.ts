import { type Socket, connect } from "node:net";
import { EventReader } from "./event-reader.ts";
import { headLines } from "./post-connection.ts";
import { ResponseReader } from "./response-reader.ts";

interface StreamEvents {
  onHead?(status: number): void;
  onEvent(event: string, data: string): void;
  /** The response or its connection ended; `status` is 0 when there was no response. */
  onEnd(status: number): void;
}

/** One GET for events, on a connection of its own. */
export class EventStream {
  readonly #socket: Socket;

  constructor(port: number, path: string, headers: Record<string, string>, events: StreamEvents) {
    let responseStatus = 0;
    const reader = new EventReader((event, data) => events.onEvent(event, data));
    const response = new ResponseReader({
      onHead: (status) => {
        responseStatus = status;
        events.onHead?.(status);
      },
      onBody: (bytes) => reader.push(bytes),
      onEnd: () => this.#socket.destroy(),
    });
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.setNoDelay(true);
    this.#socket.on("data", (bytes) => response.push(bytes as Buffer));
    // "close" follows and says all there is to say.
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => events.onEnd(responseStatus));
    const head = headLines(port, { Accept: "text/event-stream", ...headers });
    this.#socket.write(`GET ${path} HTTP/1.1\r\n${head}\r\n`, "latin1");
  }

  close(): void {
    this.#socket.destroy();
  }
}
