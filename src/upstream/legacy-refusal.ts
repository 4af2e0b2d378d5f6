import { textOf, valueOf } from "./modern-members.ts";
import {
  LEGACY_VERSIONS,
  METHOD_NOT_FOUND,
  MODERN_VERSION,
  UNSUPPORTED_VERSION,
} from "../protocol/modern-terms.ts";

/** What a server that knows no `initialize` may miss in it, beside the version. */
const ERA_MEMBERS = "io.modelcontextprotocol/";

/** Whether an error that answers an `initialize` may come of the era that the server speaks. */
export function mayBeOfEra(refusal: Buffer): boolean {
  return hasEraCode(refusal) || namesEra(refusal);
}

/** Whether it can come of nothing else, so that every other `initialize` would be refused too. */
export function isOfEra(refusal: Buffer, initialize: Buffer): boolean {
  return hasEraCode(refusal) && !offersSessions(refusal) && isOfKnownVersion(initialize);
}

/** Whether an `initialize` asks for a version that servers with sessions know. */
export function isOfKnownVersion(initialize: Buffer): boolean {
  return LEGACY_VERSIONS.includes(valueOf(initialize, ["params", "protocolVersion"]) as string);
}

function hasEraCode(refusal: Buffer): boolean {
  const code = valueOf(refusal, ["error", "code"]);
  return code === METHOD_NOT_FOUND || code === UNSUPPORTED_VERSION;
}

function namesEra(refusal: Buffer): boolean {
  const words = textOf(refusal, ["error"]) ?? "";
  return words.includes(MODERN_VERSION) || words.includes(ERA_MEMBERS);
}

/** A server of both eras may not know the version that was asked for, and another one. */
function offersSessions(refusal: Buffer): boolean {
  const supported = valueOf(refusal, ["error", "data", "supported"]);
  return Array.isArray(supported) && supported.some((version) => LEGACY_VERSIONS.includes(version as string));
}
