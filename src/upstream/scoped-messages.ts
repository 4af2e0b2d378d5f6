import { locate, type Span, splice } from "../protocol/splice.ts";
import { resultMessage } from "./aggregate-answers.ts";
import { elementsAt } from "./aggregate-items.ts";
import { membersAt, objectText, withoutMembers } from "./modern-members.ts";
import { META } from "../protocol/modern-terms.ts";

/** What is left of a server of which only tools may be used. */
const KEPT_CAPABILITIES = new Set(["tools", "logging"]);

/** The lists that are empty for who may use only tools, by method: the member of the result. */
const EMPTY: Readonly<Record<string, string>> = {
  "prompts/list": "prompts",
  "resources/list": "resources",
  "resources/templates/list": "resourceTemplates",
  "tasks/list": "tasks",
};

/** The answer to a request for a list of which nothing may be seen. Undefined for every other request. */
export function emptyList(message: Buffer, id: string, method: string): Buffer | undefined {
  if (!Object.hasOwn(EMPTY, method)) return undefined;
  const isModern = locate(message, ["params", "_meta", META.version]) !== undefined;
  const rest = isModern ? ',"resultType":"complete","ttlMs":0,"cacheScope":"private"' : "";
  return resultMessage(id, `{"${EMPTY[method] as string}":[]${rest}}`);
}

/** Whether a call is, for every way to read it, of a tool that may be called. */
export function isCallOf(message: Buffer, mayCall: (tool: string) => boolean): boolean {
  const name = onlyMember(message, ["params"], "name");
  const tool = name === undefined ? undefined : (JSON.parse(name) as unknown);
  return typeof tool === "string" && mayCall(tool);
}

/** The same subscription to changes of tools alone. Undefined when it can be read in two ways. */
export function narrowListen(message: Buffer): Buffer | undefined {
  if (onlyMember(message, ["params"], "notifications") === undefined) return undefined;
  const wants = onlyMember(message, ["params", "notifications"], "toolsListChanged");
  const text = wants === "true" ? '{"toolsListChanged":true}' : "{}";
  return splice(message, [{ ...(locate(message, ["params", "notifications"]) as Span), text }]);
}

/** An answer to `tools/list` with the tools that may be called, and all else as it is. */
export function narrowTools(answer: Buffer, mayCall: (tool: string) => boolean): Buffer {
  const list = locate(answer, ["result", "tools"]);
  if (list === undefined && !membersAt(answer, ["result"]).some(({ name }) => isLike(name, "tools")))
    return answer;
  const isPlain = onlyMember(answer, ["result"], "tools") !== undefined;
  const elements = isPlain ? elementsAt(answer, ["result", "tools"]) : undefined;
  if (list === undefined || elements === undefined) return withoutTools(answer);
  const kept = elements
    .map(({ start, end }) => answer.subarray(start, end))
    .filter((item) => {
      const name = onlyMember(item, [], "name");
      const tool = name === undefined ? undefined : (JSON.parse(name) as unknown);
      return typeof tool === "string" && mayCall(tool);
    });
  if (kept.length === elements.length) return answer;
  const pieces = kept.flatMap((item, at) => (at === 0 ? [item] : [COMMA, item]));
  return splice(answer, [{ ...list, text: Buffer.concat([OPEN, ...pieces, CLOSE]) }]);
}

/**
 * An answer to `initialize` or `server/discover` that offers tools and logging alone. What the server says of itself in
 * its instructions may name the tools that are hidden, so it is left out.
 */
export function narrowIntroduction(answer: Buffer): Buffer {
  const narrowed = withoutMembers(answer, ["result"], ["instructions"]);
  const span = locate(narrowed, ["result", "capabilities"]);
  if (span === undefined) return narrowed;
  const kept = membersAt(narrowed, ["result", "capabilities"]).filter(({ name }) =>
    KEPT_CAPABILITIES.has(name),
  );
  const text = objectText(Object.fromEntries(kept.map(({ name, value }) => [name, value])));
  return splice(narrowed, [{ ...span, text }]);
}

const COMMA = Buffer.from(",");
const OPEN = Buffer.from("[");
const CLOSE = Buffer.from("]");

/** A list that can be read in two ways shows nothing. */
function withoutTools(answer: Buffer): Buffer {
  const kept = membersAt(answer, ["result"]).filter(({ name }) => !isLike(name, "tools"));
  const text = objectText({
    ...Object.fromEntries(kept.map(({ name, value }) => [name, value])),
    tools: "[]",
  });
  return splice(answer, [{ ...(locate(answer, ["result"]) as Span), text }]);
}

/**
 * The JSON text of a member of the object at a path, if it stands there once and nothing else looks like it: of two,
 * one parser takes the first and another the last, and a parser that folds case takes either.
 */
function onlyMember(message: Buffer, path: readonly string[], name: string): string | undefined {
  const [only, ...others] = membersAt(message, path).filter((member) => isLike(member.name, name));
  return others.length === 0 && only?.name === name ? only.value : undefined;
}

const isLike = (name: string, wanted: string): boolean =>
  name.normalize("NFKC").toLowerCase() === wanted.toLowerCase();
