import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** One RESP2 reply, with what REST answers must tell apart: `+OK` from a stored "OK", and every digit of an integer. */
export type Reply =
  | { kind: "status" | "error"; text: string }
  | { kind: "integer"; digits: string }
  | { kind: "bulk"; bytes: Buffer }
  | { kind: "nil" }
  | { kind: "array"; items: Reply[] };

export type Command = readonly (string | Buffer)[];

export interface RespConnection {
  /** Writes the commands in one piece, so nothing comes between them, and resolves with their replies. */
  send(commands: readonly Command[]): Promise<Reply[]>;
  /** Writes a command whose replies never end, such as SUBSCRIBE; no other may follow. */
  listen(command: Command, onReply: (reply: Reply) => void): void;
  /** Resolves when the connection is gone. */
  readonly gone: Promise<void>;
  close(): void;
}

const CRLF = "\r\n";

export function encodeCommand(command: Command): Buffer {
  const parts = command.flatMap((argument) => {
    const bytes = typeof argument === "string" ? Buffer.from(argument) : argument;
    return [Buffer.from(`$${bytes.length}${CRLF}`), bytes, Buffer.from(CRLF)];
  });
  return Buffer.concat([Buffer.from(`*${command.length}${CRLF}`), ...parts]);
}

/** The reply in the form Redis sent it. */
export function encodeReply(reply: Reply): Buffer {
  switch (reply.kind) {
    case "status":
      return Buffer.from(`+${reply.text}${CRLF}`);
    case "error":
      return Buffer.from(`-${reply.text}${CRLF}`);
    case "integer":
      return Buffer.from(`:${reply.digits}${CRLF}`);
    case "nil":
      return Buffer.from(`$-1${CRLF}`);
    case "bulk":
      return Buffer.concat([Buffer.from(`$${reply.bytes.length}${CRLF}`), reply.bytes, Buffer.from(CRLF)]);
    case "array":
      return Buffer.concat([Buffer.from(`*${reply.items.length}${CRLF}`), ...reply.items.map(encodeReply)]);
  }
}

/** Reads one reply at `start`; undefined while it is not whole yet. */
export function readReply(buffer: Buffer, start = 0): { reply: Reply; end: number } | undefined {
  const lineEnd = buffer.indexOf(CRLF, start);
  if (lineEnd < 0) return undefined;
  const type = String.fromCharCode(buffer[start] ?? 0);
  const text = buffer.toString("utf8", start + 1, lineEnd);
  const end = lineEnd + 2;
  switch (type) {
    case "+":
      return { reply: { kind: "status", text }, end };
    case "-":
      return { reply: { kind: "error", text }, end };
    case ":":
      return { reply: { kind: "integer", digits: text }, end };
    case "$":
      return readBulk(buffer, end, Number(text));
    case "*":
      return readArray(buffer, end, Number(text));
    default:
      throw new Error(`not RESP2: ${type}`);
  }
}

function readBulk(buffer: Buffer, start: number, length: number): { reply: Reply; end: number } | undefined {
  if (length < 0) return { reply: { kind: "nil" }, end: start };
  const end = start + length;
  if (buffer.length < end + 2) return undefined;
  return { reply: { kind: "bulk", bytes: Buffer.from(buffer.subarray(start, end)) }, end: end + 2 };
}

function readArray(buffer: Buffer, start: number, length: number): { reply: Reply; end: number } | undefined {
  if (length < 0) return { reply: { kind: "nil" }, end: start };
  const items: Reply[] = [];
  let end = start;
  for (let at = 0; at < length; at += 1) {
    const item = readReply(buffer, end);
    if (!item) return undefined;
    items.push(item.reply);
    end = item.end;
  }
  return { reply: { kind: "array", items }, end };
}

interface Waiter {
  onReply: (reply: Reply) => void;
  onLost: () => void;
  /** True for one that takes every reply to come. */
  stays: boolean;
}

/** Opens one connection to the Redis at `url`; rejects when it cannot. */
export async function openResp(url: string): Promise<RespConnection> {
  const { hostname, port, username, password, pathname } = new URL(url);
  const socket: Socket = connect(Number(port || 6379), hostname);
  await once(socket, "connect");
  socket.setNoDelay(true);
  const waiters: Waiter[] = [];
  let unread = Buffer.alloc(0);

  socket.on("data", (chunk: Buffer) => {
    unread = Buffer.concat([unread, chunk]);
    for (let found = readReply(unread); found; found = readReply(unread)) {
      unread = unread.subarray(found.end);
      const waiter = waiters[0]?.stays ? waiters[0] : waiters.shift();
      waiter?.onReply(found.reply);
    }
  });
  socket.on("error", () => socket.destroy());
  const gone = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  void gone.then(() => {
    for (const waiter of waiters.splice(0)) waiter.onLost();
  });

  const send = (commands: readonly Command[]): Promise<Reply[]> => {
    if (socket.destroyed) return Promise.reject(new Error("Redis is gone"));
    const replies = commands.map(
      () =>
        new Promise<Reply>((resolve, reject) => {
          waiters.push({ onReply: resolve, onLost: () => reject(new Error("Redis is gone")), stays: false });
        }),
    );
    if (commands.length > 0) socket.write(Buffer.concat(commands.map(encodeCommand)));
    return Promise.all(replies);
  };

  const credentials = [username === "" ? "default" : username, password].map(decodeURIComponent);
  const greeting: Command[] = password === "" ? [] : [["AUTH", ...credentials]];
  if (pathname.length > 1) greeting.push(["SELECT", pathname.slice(1)]);
  for (const reply of await send(greeting)) if (reply.kind === "error") throw new Error(reply.text);
  return {
    send,
    listen: (command, onReply) => {
      waiters.push({ onReply, onLost: () => undefined, stays: true });
      socket.write(encodeCommand(command));
    },
    gone,
    close: () => socket.destroy(),
  };
}
