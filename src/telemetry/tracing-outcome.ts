import type { Attributes } from "@opentelemetry/api";
import { FAULTS, type Reason } from "../errors.ts";
import type { CallEnd } from "../events.ts";
import { locate, textAt } from "../protocol/splice.ts";
import { isToolError } from "./call-facts.ts";
import { shortString } from "./tracing-message.ts";

const MAX_MESSAGE = 256;
const MAX_CODE_BYTES = 16;

interface OutcomeError {
  readonly attributes: Attributes;
  /** The JSON-RPC message, cut. */
  readonly message: string | undefined;
}

/** What went wrong with a call, as the conventions for MCP name it. Undefined when nothing did. */
export function outcomeError(method: string, { answer, failed, reason }: CallEnd): OutcomeError | undefined {
  if (reason !== undefined) return { attributes: { "error.type": reason }, message: wordsOf(reason) };
  if (failed) return answer === undefined ? unknown(undefined) : errorOf(answer);
  if (method === "tools/call" && answer !== undefined && isToolError(answer)) {
    return { attributes: { "error.type": "tool_error" }, message: undefined };
  }
  return undefined;
}

function errorOf(answer: Buffer): OutcomeError {
  const place = locate(answer, ["error", "message"]);
  const message = place && shortString(answer, place)?.slice(0, MAX_MESSAGE);
  const at = locate(answer, ["error", "code"]);
  const code = at === undefined || at.end - at.start > MAX_CODE_BYTES ? "" : textAt(answer, at);
  if (!/^-?[0-9]+$/.test(code)) return unknown(message);
  return { attributes: { "error.type": code, "rpc.response.status_code": code }, message };
}

const unknown = (message: string | undefined): OutcomeError => ({
  attributes: { "error.type": "_OTHER" },
  message,
});

const wordsOf = (reason: string): string | undefined =>
  Object.hasOwn(FAULTS, reason) ? FAULTS[reason as Reason].message : undefined;
