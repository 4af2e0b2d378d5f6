import { OBJECT } from "../protocol/json.ts";
import { locate, splice } from "../protocol/splice.ts";
import { membersAt, textOf, withMembers, withoutMembers } from "./modern-members.ts";

/**
 * The answer of a 2026-07-28 server as clients of earlier versions can read it. They ignore what they do not know, so
 * most answers stay as they are; changed is what their schemas would refuse.
 */
export function legacyAnswer(method: string, message: Buffer): Buffer {
  if (method === "tools/list") return withoutWideSchemas(message);
  if (method === "tools/call") return withObjectContent(message);
  const members = membersAt(message, ["result"]);
  // The one result that clients read strictly is the empty one.
  const isEmpty = members.every(({ name }) => name === "resultType" || name === "_meta");
  return isEmpty ? withoutMembers(message, ["result"], ["resultType"]) : message;
}

/** An output schema must be that of an object before 2026-07-28, or a client refuses the whole list. */
function withoutWideSchemas(message: Buffer): Buffer {
  const text = textOf(message, ["result", "tools"]);
  if (text?.includes('"outputSchema"') !== true) return message;
  const tools = JSON.parse(text) as Record<string, unknown>[];
  if (!Array.isArray(tools)) return message;
  const isWide = (tool: Record<string, unknown> | null) => {
    const schema = tool?.["outputSchema"] as { type?: unknown } | null | undefined;
    return schema !== undefined && schema?.type !== "object";
  };
  if (!tools.some(isWide)) return message;
  const narrow = tools.map((tool) => {
    if (!isWide(tool)) return tool;
    const { outputSchema: _, ...rest } = tool;
    return rest;
  });
  return withMembers(message, ["result"], { tools: JSON.stringify(narrow) });
}

/** Structured content must be an object before 2026-07-28; another value becomes its member `result`, as the SDK does it. */
function withObjectContent(message: Buffer): Buffer {
  const content = locate(message, ["result", "structuredContent"]);
  if (content === undefined || message[content.start] === OBJECT) return message;
  const value = message.subarray(content.start, content.end);
  return splice(message, [
    { ...content, text: Buffer.concat([Buffer.from('{"result":'), value, Buffer.from("}")]) },
  ]);
}
