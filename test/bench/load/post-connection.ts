import { type Socket, connect } from "node:net";
import { ResponseReader } from "./response-reader.ts";

/** Hears how a POST ended: its HTTP status, or 0 when the connection broke first. */
export type OnStatus = (status: number) => void;

/** Gets the body of each response before its end is told. */
export interface BodySink {
  begin(status: number, head: string): void;
  push(bytes: Buffer): void;
  end(isComplete: boolean): void;
}

const IGNORED: BodySink = { begin: () => undefined, push: () => undefined, end: () => undefined };

/** One keep-alive connection that carries one POST at a time; opened again when the server closed it. */
export class PostConnection {
  #socket: Socket | undefined;
  #status = 0;
  #onStatus: OnStatus | undefined;
  #head = "";
  #responseHead = "";
  readonly #port: number;
  readonly #body: BodySink;

  constructor(port: number, headers: Record<string, string>, body = IGNORED) {
    this.#port = port;
    this.#body = body;
    this.setHeaders(headers);
  }

  /** For the POSTs from now on. */
  setHeaders(headers: Record<string, string>): void {
    this.#head = headLines(this.#port, { "Content-Type": "application/json", ...headers });
  }

  /** `body` has characters up to U+00FF only, each of which is sent as one byte. */
  post(path: string, body: string, onStatus: OnStatus): void {
    this.#onStatus = onStatus;
    this.#socket ??= this.#open();
    this.#socket.write(
      `POST ${path} HTTP/1.1\r\n${this.#head}Content-Length: ${body.length}\r\n\r\n${body}`,
      "latin1",
    );
  }

  /** A header of the latest response; `name` in lower case. */
  responseHeader(name: string): string | undefined {
    const lines = this.#responseHead.split("\r\n").map((line) => line.split(": "));
    return lines.find(([key]) => key?.toLowerCase() === name)?.[1];
  }

  /** Breaks the connection; a POST that waits hears nothing more. */
  close(): void {
    this.#onStatus = undefined;
    const socket = this.#socket;
    if (socket === undefined) return;
    this.#socket = undefined;
    socket.destroy();
    this.#body.end(false);
  }

  #open(): Socket {
    const socket = connect(this.#port, "127.0.0.1");
    const reader = new ResponseReader({
      onHead: (status, head) => {
        this.#status = status;
        this.#responseHead = head;
        this.#body.begin(status, head);
      },
      onBody: (bytes) => this.#body.push(bytes),
      onEnd: () => {
        this.#body.end(true);
        this.#settle(this.#status);
      },
    });
    const drop = (): void => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#body.end(false);
      this.#settle(0);
    };
    socket.setNoDelay(true);
    socket.on("data", (bytes) => reader.push(bytes as Buffer));
    socket.on("end", drop);
    socket.on("close", drop);
    // "close" follows and says all there is to say.
    socket.on("error", () => undefined);
    return socket;
  }

  #settle(status: number): void {
    const onStatus = this.#onStatus;
    this.#onStatus = undefined;
    onStatus?.(status);
  }
}

export function headLines(port: number, headers: Record<string, string>): string {
  const lines = Object.entries({ Host: `127.0.0.1:${port}`, ...headers });
  return lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
}
