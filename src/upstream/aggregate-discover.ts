import { errorResponse } from "../protocol/json-rpc.ts";
import { FAULTS } from "../errors.ts";
import { errorCode, resultMessage, unavailable, withId } from "./aggregate-answers.ts";
import { timeOf } from "./aggregate-pages.ts";
import { capabilitiesOf, joinInstructions, unite } from "./aggregate-capabilities.ts";
import { ABSENT, type Crew, identity, type Question, waitFor } from "./aggregate-crew.ts";
import { valueOf } from "./modern-members.ts";
import { META } from "../protocol/modern-terms.ts";

/** Introduces the members as one server of the 2026-07-28 era. */
export async function discover(crew: Crew, { id, message, signal }: Question): Promise<Buffer> {
  const { members } = crew;
  const outcomes = await Promise.all(
    members.map(async (member) => ({
      name: member.name,
      outcome: await member.ask(message, waitFor(member, crew), signal),
    })),
  );
  const present: { name: string; answer: Buffer }[] = [];
  const absent: string[] = [];
  let refusal: Buffer | undefined;
  for (const { name, outcome } of outcomes) {
    // One without this era would be invisible: a client that is refused comes again with `initialize`, and sees all.
    if (outcome === "upstream_era")
      return errorResponse(id, FAULTS[outcome].rpcCode, FAULTS[outcome].message, outcome);
    if (typeof outcome === "string") absent.push(name);
    else if (!outcome.failed) present.push({ name, answer: outcome.message });
    else if (isOfOtherEra(errorCode(outcome.message, outcome))) return withId(outcome.message, id);
    else {
      refusal ??= outcome.message;
      absent.push(name);
    }
  }
  if (present.length === 0) {
    return refusal === undefined
      ? unavailable(id, absent.join(", "), "upstream_unavailable")
      : withId(refusal, id);
  }
  return resultMessage(id, JSON.stringify(introduce(crew, present, absent)));
}

function introduce(crew: Crew, present: { name: string; answer: Buffer }[], absent: string[]) {
  const results = present.map(({ answer }) => valueOf(answer, ["result"]) as Discovered);
  const [first, ...others] = results.map(({ supportedVersions: some }) => (Array.isArray(some) ? some : []));
  const instructions = joinInstructions(present, absent);
  return {
    resultType: "complete",
    supportedVersions:
      first?.filter((version) => others.every((versions) => versions.includes(version))) ?? [],
    capabilities: unite(present.map(({ answer }) => capabilitiesOf(answer))),
    ...(instructions === undefined ? {} : { instructions }),
    // What is said while somebody is missing is not to be kept.
    ttlMs: absent.length > 0 ? 0 : Math.min(...results.map(({ ttlMs }) => timeOf(ttlMs))),
    cacheScope: results.every(({ cacheScope }) => cacheScope === "public") ? "public" : "private",
    _meta: { [META.serverInfo]: identity(crew), ...(absent.length > 0 ? { [ABSENT]: absent } : {}) },
  };
}

/** What a server says, not yet looked into. */
type Discovered = Partial<Record<"supportedVersions" | "ttlMs" | "cacheScope", unknown>>;

/** Whether a server that answers so knows nothing of the era: neither its own fault nor a code that the era defines. */
const isOfOtherEra = (code: number): boolean => code !== -32603 && (code > -32020 || code < -32099);
