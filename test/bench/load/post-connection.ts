import { type Socket, connect } from "node:net";
import { ResponseReader } from "./response-reader.ts";

/** Hears how a POST ended: its HTTP status, or 0 when the connection broke first. */
export type OnStatus = (status: number) => void;

/** One keep-alive connection that carries one POST at a time; opened again when the server closed it. */
export class PostConnection {
  #socket: Socket | undefined;
  #status = 0;
  #onStatus: OnStatus | undefined;
  readonly #port: number;
  readonly #head: string;

  constructor(port: number, headers: Record<string, string>) {
    this.#port = port;
    this.#head = headLines(port, { "Content-Type": "application/json", ...headers });
  }

  /** `body` is ASCII, so that its length is its Content-Length. */
  post(path: string, body: string, onStatus: OnStatus): void {
    this.#onStatus = onStatus;
    this.#socket ??= this.#open();
    this.#socket.write(
      `POST ${path} HTTP/1.1\r\n${this.#head}Content-Length: ${body.length}\r\n\r\n${body}`,
      "latin1",
    );
  }

  /** Breaks the connection; a POST that waits hears nothing more. */
  close(): void {
    this.#onStatus = undefined;
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #open(): Socket {
    const socket = connect(this.#port, "127.0.0.1");
    const reader = new ResponseReader({
      onHead: (status) => {
        this.#status = status;
      },
      onBody: ignoreBody,
      onEnd: () => this.#settle(this.#status),
    });
    const drop = (): void => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#settle(0);
    };
    socket.setNoDelay(true);
    socket.on("data", (bytes) => reader.push(bytes as Buffer));
    socket.on("end", drop);
    socket.on("close", drop);
    // "close" follows and says all there is to say.
    socket.on("error", ignoreError);
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

function ignoreBody(): void {}
function ignoreError(): void {}
