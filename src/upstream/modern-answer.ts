import { OBJECT } from "../protocol/json.ts";
import { locate } from "../protocol/splice.ts";
import { type Members, objectText, textOf, valueOf, withMembers, withoutMembers } from "./modern-members.ts";
import type { Introduction } from "./modern-session.ts";
import { INVALID_PARAMS, META, MODERN_VERSION } from "../protocol/modern-terms.ts";

/** The answers that a client may keep, and must be told for how long. */
const CACHEABLE = [
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "resources/read",
  "server/discover",
];
const SCOPES: unknown[] = ["public", "private"];

/** What earlier versions answer for a resource that there is not. */
const RESOURCE_NOT_FOUND = -32002;
/** What 2025-11-25 answers when the user must first go to a page. */
const URL_NEEDED = -32042;

/** The answer of a server of an earlier version, as the 2026-07-28 era has it. */
export function modernAnswer(method: string, answer: Buffer, introduction: Introduction): Buffer {
  const error = valueOf(answer, ["error", "code"]);
  if (error === RESOURCE_NOT_FOUND) return withMembers(answer, ["error"], { code: String(INVALID_PARAMS) });
  const result = locate(answer, ["result"]);
  // What is no object has no members to be added to.
  if (error !== undefined || result === undefined || answer[result.start] !== OBJECT) return answer;
  const named = withName(answer, introduction);
  const members: Record<string, string> = { resultType: '"complete"' };
  if (CACHEABLE.includes(method)) {
    const ttlMs = valueOf(answer, ["result", "ttlMs"]);
    if (!Number.isInteger(ttlMs) || (ttlMs as number) < 0) members["ttlMs"] = "0";
    if (!SCOPES.includes(valueOf(answer, ["result", "cacheScope"]))) members["cacheScope"] = '"private"';
  }
  return withMembers(named, ["result"], members);
}

/** The answer to `server/discover`. */
export function discoveryOf(id: string, introduction: Introduction): Buffer {
  const { capabilities, instructions } = introduction;
  const result: Members = {
    supportedVersions: JSON.stringify([MODERN_VERSION]),
    capabilities,
    ...(instructions === undefined ? {} : { instructions }),
  };
  return modernAnswer("server/discover", response(id, result), introduction);
}

/** An answer that asks for input. `requests` is JSON text by key; `state` comes back with the input. */
export function inputRequired(
  id: string,
  requests: Members,
  state: string | undefined,
  introduction: Introduction,
): Buffer {
  const result: Members = {
    resultType: '"input_required"',
    inputRequests: objectText(requests),
    ...(state === undefined ? {} : { requestState: JSON.stringify(state) }),
  };
  return withName(response(id, result), introduction);
}

/** The pages that an error of 2025-11-25 sends the user to, as input that is required. Undefined when it is another error. */
export function pagesIn(answer: Buffer): Members | undefined {
  if (valueOf(answer, ["error", "code"]) !== URL_NEEDED) return undefined;
  const pages = valueOf(answer, ["error", "data", "elicitations"]);
  if (!Array.isArray(pages) || pages.length === 0) return undefined;
  return Object.fromEntries(
    pages.map(({ message, url }: Record<string, unknown>, at) => [
      `page-${at + 1}`,
      JSON.stringify({ method: "elicitation/create", params: { mode: "url", message, url } }),
    ]),
  );
}

/** A question of the server without what only earlier versions know. */
export function questionOf(request: Buffer, method: string): string {
  const params = textOf(withoutMembers(request, ["params"], ["elicitationId", "task"]), ["params"]);
  return objectText({ method: JSON.stringify(method), ...(params === undefined ? {} : { params }) });
}

/** A successful answer. */
export const response = (id: string, result: Members): Buffer =>
  Buffer.from(objectText({ jsonrpc: '"2.0"', id, result: objectText(result) }));

function withName(answer: Buffer, { serverInfo }: Introduction): Buffer {
  if (textOf(answer, ["result", "_meta", META.serverInfo]) !== undefined) return answer;
  return withMembers(answer, ["result", "_meta"], { [META.serverInfo]: serverInfo });
}
