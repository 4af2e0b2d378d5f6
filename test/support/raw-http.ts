import { connect, type Socket } from "node:net";

/** One answer, as it came over the wire. */
export interface RawAnswer {
  status: number;
  /** Names in lower case; a header that came twice is joined with a comma. */
  headers: Record<string, string>;
  body: string;
  /** The head as it was written, without the empty line. */
  head: string;
}

/** A connection that says what it is told to, byte by byte, and reads answers. */
export interface RawConnection {
  socket: Socket;
  send(bytes: string | Buffer): void;
  /** Resolves with the next whole answer. Rejects when the connection ends before. */
  answer(): Promise<RawAnswer>;
  /** Resolves when the other end has closed its side, politely or not. */
  ended: Promise<"end" | "reset">;
  /** What came and belongs to no answer yet. */
  rest(): string;
  /** Resolves once `text` has come. Rejects when the connection ends before. */
  until(text: string): Promise<void>;
  close(): void;
}

/** Connects to 127.0.0.1. */
export function openRaw(port: number): RawConnection {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  let buffer = Buffer.alloc(0);
  let isOver = false;
  const waiting = new Set<() => void>();
  const wake = () => [...waiting].forEach((look) => look());
  socket.on("data", (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk]);
    wake();
  });
  const ended = new Promise<"end" | "reset">((resolve) => {
    const end = (how: "end" | "reset") => () => ((isOver = true), resolve(how), wake());
    socket.on("end", end("end"));
    socket.on("error", end("reset"));
    socket.on("close", end("end"));
  });
  const until = <T>(look: () => T | undefined, what: string) =>
    new Promise<T>((resolve, reject) => {
      const check = () => {
        const found = look();
        if (found === undefined && !isOver) return;
        waiting.delete(check);
        if (found !== undefined) resolve(found);
        else reject(new Error(`the connection ended before ${what}; it said: ${buffer.toString("latin1")}`));
      };
      waiting.add(check);
      check();
    });
  return {
    socket,
    ended,
    send: (bytes) => void socket.write(bytes),
    answer: () =>
      until(() => {
        const found = takeAnswer(buffer, isOver);
        if (found !== undefined) buffer = buffer.subarray(found.length);
        return found?.answer;
      }, "its answer"),
    rest: () => buffer.toString("latin1"),
    until: (text) => until(() => (buffer.includes(text) ? true : undefined), text).then(() => undefined),
    close: () => void socket.destroy(),
  };
}

/** Sends `bytes` on a connection of their own; answers the first answer, and closes. */
export async function exchange(port: number, bytes: string | Buffer): Promise<RawAnswer> {
  const connection = openRaw(port);
  connection.send(bytes);
  try {
    return await connection.answer();
  } finally {
    connection.close();
  }
}

/** A request as text: a Host and no more headers than are given. The body gets its length unless `headers` speak of it. */
export function rawRequest(
  line: string,
  headers: Record<string, string> | string[] = {},
  body: string | Buffer = "",
): Buffer {
  const given = Array.isArray(headers)
    ? headers
    : Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const has = (name: string) => given.some((header) => header.toLowerCase().startsWith(`${name}:`));
  const lines = [
    /HTTP\//.test(line) ? line : `${line} HTTP/1.1`,
    ...(has("host") ? [] : ["Host: 127.0.0.1"]),
    ...given,
    ...(body.length > 0 && !has("content-length") && !has("transfer-encoding")
      ? [`Content-Length: ${Buffer.byteLength(body)}`]
      : []),
  ];
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), Buffer.from(body)]);
}

function takeAnswer(buffer: Buffer, isOver: boolean): { answer: RawAnswer; length: number } | undefined {
  const headEnd = buffer.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const head = buffer.toString("latin1", 0, headEnd);
  const [first = "", ...lines] = head.split("\r\n");
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]);
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const name = line.slice(0, line.indexOf(":")).toLowerCase();
    const value = line.slice(line.indexOf(":") + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  const start = headEnd + 4;
  const isEmpty = status < 200 || status === 204;
  const isEndless = headers["content-type"] === "text/event-stream";
  const declared = headers["content-length"];
  // A stream's answer is its head; what follows is read with `until` and `rest`.
  if (!isEmpty && !isEndless && declared === undefined && !isOver) return undefined;
  const length = isEmpty || isEndless ? 0 : Number(declared ?? buffer.length - start);
  if (buffer.length < start + length) return undefined;
  const body = buffer.toString("utf8", start, start + length);
  return { answer: { status, headers, body, head }, length: start + length };
}
