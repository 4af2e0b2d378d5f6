import { membersAt, type Members, textOf, withoutMembers } from "./modern-members.ts";
import { META, TASKS_EXTENSION } from "../protocol/modern-terms.ts";

/** Who makes a request of the 2026-07-28 era and what it can, as `initialize` says it. */
export interface Identity {
  readonly caller: string;
  /** Equal for equal clients of one caller. */
  readonly key: string;
  /** JSON text of the params of `initialize`, without the version. */
  readonly params: Members;
  readonly capabilities: Record<string, unknown>;
}

const UNNAMED = '{"name":"unnamed","version":"0"}';

/** Reads what a request says of its client. */
export function identityOf(request: Buffer, caller: string): Identity {
  const path = ["params", "_meta", META.clientCapabilities];
  const text = textOf(withoutMembers(request, [...path, "extensions"], [TASKS_EXTENSION]), path);
  const parsed: unknown = JSON.parse(text ?? "{}");
  const capabilities = isObject(parsed) ? parsed : {};
  const named = textOf(request, ["params", "_meta", META.clientInfo]) ?? UNNAMED;
  // A server would refuse to be initialised by one without a name.
  const clientInfo = hasName(JSON.parse(named)) ? named : UNNAMED;
  return {
    caller,
    key: canonical([caller, capabilities, JSON.parse(clientInfo)]),
    params: { capabilities: isObject(parsed) ? (text ?? "{}") : "{}", clientInfo },
    capabilities,
  };
}

/** The JSON text of a value with the members of its objects in order, so that equal values have equal texts. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    isObject(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** What a request says beside its `_meta` and what it repeats an earlier one with. */
export function substanceOf(request: Buffer): Record<string, unknown> {
  const said = membersAt(request, ["params"]).filter(({ name }) => !ROUND.includes(name) && name !== "_meta");
  return Object.fromEntries(said.map(({ name, value }) => [name, JSON.parse(value) as unknown]));
}

/** What a repeated request has beside the first one. */
export const ROUND = ["inputResponses", "requestState"];

const hasName = (info: unknown): boolean =>
  isObject(info) && typeof info["name"] === "string" && typeof info["version"] === "string";

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
