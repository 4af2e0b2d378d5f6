import type { IncomingMessage } from "node:http";

import { encodeReply, type Command, type Reply } from "./upstash-resp.ts";

/** A request of the REST protocol, read. */
export interface RestRequest {
  /** `stream` is one of /subscribe, /psubscribe and /monitor. */
  form: "command" | "pipeline" | "multi-exec" | "stream";
  commands: Command[];
}

/** How the answer is to be written. */
export interface ReplyFormat {
  base64: boolean;
  resp2: boolean;
}

export const formatOf = ({ headers }: IncomingMessage): ReplyFormat => ({
  base64: headers["upstash-encoding"] === "base64",
  resp2: headers["upstash-response-format"] === "resp2",
});

/** The token from the header or, for clients that cannot set one, from `?_token=`. */
export function tokenOf({ headers, url = "/" }: IncomingMessage): string | undefined {
  const bearer = /^Bearer (.+)$/i.exec(headers.authorization ?? "")?.[1];
  return bearer ?? new URL(url, "http://localhost").searchParams.get("_token") ?? undefined;
}

export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function toCommand(value: unknown): Command | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const fits = value.every((argument) => ["string", "number", "boolean"].includes(typeof argument));
  return fits ? value.map(String) : undefined;
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return undefined;
  }
}

/** Reads the path, query and body forms; undefined when the request is none of them. */
export function readRequest(url: string, body: Buffer): RestRequest | undefined {
  const { pathname, searchParams } = new URL(url, "http://localhost");
  if (pathname === "/") {
    const command = toCommand(parseJson(body));
    return command && { form: "command", commands: [command] };
  }
  if (pathname === "/pipeline" || pathname === "/multi-exec") {
    const list = parseJson(body);
    const commands = Array.isArray(list) ? list.map(toCommand) : [undefined];
    if (commands.some((command) => !command)) return undefined;
    return { form: pathname === "/pipeline" ? "pipeline" : "multi-exec", commands: commands as Command[] };
  }
  const path = pathname.slice(1).split("/").map(decodeURIComponent);
  if (["subscribe", "psubscribe", "monitor"].includes(path[0] ?? ""))
    return { form: "stream", commands: [path] };
  searchParams.delete("_token");
  const options = [...searchParams].flat().filter((word) => word !== "");
  return { form: "command", commands: [[...path, ...(body.length > 0 ? [body] : []), ...options]] };
}

/** A reply as JSON text: an integer keeps all its digits, and base64 spares `OK` alone. */
export function renderResult(reply: Reply, base64: boolean): string {
  switch (reply.kind) {
    case "integer":
      return reply.digits;
    case "nil":
      return "null";
    case "array":
      return `[${reply.items.map((item) => renderResult(item, base64)).join(",")}]`;
    case "status":
    case "error": {
      const plain = !base64 || (reply.kind === "status" && reply.text === "OK");
      return JSON.stringify(plain ? reply.text : Buffer.from(reply.text).toString("base64"));
    }
    case "bulk":
      return JSON.stringify(reply.bytes.toString(base64 ? "base64" : "utf8"));
  }
}

const renderOne = (reply: Reply, base64: boolean): string =>
  reply.kind === "error"
    ? JSON.stringify({ error: reply.text })
    : `{"result":${renderResult(reply, base64)}}`;

/** The answer's status and body: one reply for a command, several for a pipeline or a transaction. */
export function renderAnswer(
  replies: Reply[] | Reply,
  format: ReplyFormat,
): { status: number; body: Buffer } {
  const status = !Array.isArray(replies) && replies.kind === "error" ? 400 : 200;
  if (format.resp2) {
    // How a pipeline looks in this format is not documented.
    return {
      status,
      body: encodeReply(Array.isArray(replies) ? { kind: "array", items: replies } : replies),
    };
  }
  const text = Array.isArray(replies)
    ? `[${replies.map((reply) => renderOne(reply, format.base64)).join(",")}]`
    : renderOne(replies, format.base64);
  return { status, body: Buffer.from(text) };
}

/** What a subscription sends, as the payload of an event: `message,<channel>,<payload>`, `subscribe,<channel>,<count>`. */
export function renderEvent(reply: Reply): string {
  const parts = reply.kind === "array" ? reply.items : [reply];
  const text = parts.map((part) => {
    if (part.kind === "bulk") return part.bytes.toString("utf8");
    return part.kind === "integer" ? part.digits : part.kind === "status" ? part.text : "";
  });
  // What becomes of a line break in a payload is not documented; this is the way of SSE.
  return `data: ${text
    .join(",")
    .split(/\r\n|\r|\n/)
    .join("\ndata: ")}\n\n`;
}
