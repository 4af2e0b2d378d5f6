import { FAULTS } from "../errors.ts";
import { stringAt } from "../protocol/splice.ts";
import { errorMessage, INVALID_REQUEST, resultMessage, unavailable, withId } from "./aggregate-answers.ts";
import { capabilitiesOf, joinInstructions, unite } from "./aggregate-capabilities.ts";
import { ABSENT, type Crew, identity, type Question } from "./aggregate-crew.ts";
import type { Member } from "./aggregate-member.ts";
import { valueOf } from "./modern-members.ts";

/** The lists that a server may bring with it when it comes. */
export const LISTS = ["tools", "prompts", "resources"] as const;

/** Introduces the client to every member, and them to the client as one server. */
export async function initialize(crew: Crew, { id, message }: Question): Promise<Buffer> {
  const { members, told, log } = crew;
  if (told.initialize !== undefined) {
    return errorMessage(id, INVALID_REQUEST, "This session is initialized already.");
  }
  told.initialize = message;
  await come(crew);
  const present = members.filter(({ introduction }) => introduction !== undefined);
  if (present.length === 0) {
    const refusal = members.find((member) => member.refusal !== undefined)?.refusal;
    const answer = refusal === undefined ? noneAvailable(id, members) : withId(refusal, id);
    told.initialize = undefined;
    await Promise.all(members.map((member) => member.close()));
    return answer;
  }
  for (const member of present) member.isAnnounced = true;
  const versions = present.map(versionOf).filter((one) => typeof one === "string");
  // Versions are dates, so their order is that of their letters.
  const version = versions.reduce(
    (lowest, one) => (one < lowest ? one : lowest),
    versions[0] ?? stringAt(message, ["params", "protocolVersion"]) ?? "",
  );
  if (versions.some((one) => one !== version)) {
    log.debug({ version, versions }, "The servers speak different versions; the client is told the oldest");
  }
  told.version = version;
  told.isAnswered = true;
  return resultMessage(id, JSON.stringify(introduce(crew, present, version)));
}

function introduce(crew: Crew, present: readonly Member[], protocolVersion: string) {
  const absent = crew.members.filter((member) => !present.includes(member)).map(({ name }) => name);
  const answers = present.map((member) => ({ name: member.name, answer: introductionOf(member) }));
  const united = unite(answers.map(({ answer }) => capabilitiesOf(answer)));
  // A server that ends, or comes later, changes the lists: the client is told so by us.
  const offered = LISTS.filter((list) => absent.length > 0 || list in united);
  const changing = Object.fromEntries(offered.map((list) => [list, { listChanged: true }]));
  const instructions = joinInstructions(answers, absent);
  return {
    protocolVersion,
    capabilities: unite([united, changing]),
    serverInfo: identity(crew),
    ...(instructions === undefined ? {} : { instructions }),
    ...(absent.length === 0 ? {} : { _meta: { [ABSENT]: absent } }),
  };
}

const versionOf = (member: Member): unknown => valueOf(introductionOf(member), ["result", "protocolVersion"]);

const introductionOf = (member: Member): Buffer => member.introduction as Buffer;

/**
 * Starts all. Resolves when all have come or failed; sooner when somebody is there and the others are those that made
 * clients wait before, or have taken longer than is patient.
 */
function come({ members, patienceMs }: Crew): Promise<void> {
  return new Promise((resolve) => {
    const doubtful = new Set(members.filter(({ health }) => health.isDoubtful));
    const pending = new Set(members);
    let isPatient = true;
    const look = (): void => {
      const isAnyHere = members.some(({ introduction }) => introduction !== undefined);
      const awaited = [...pending].some((member) => isPatient && !doubtful.has(member));
      if (pending.size > 0 && (!isAnyHere || awaited)) return;
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(() => {
      isPatient = false;
      look();
    }, patienceMs);
    for (const member of members) {
      void member.start().then(() => {
        pending.delete(member);
        look();
      });
    }
  });
}

function noneAvailable(id: string, members: readonly Member[]): Buffer {
  if (members.length === 1) return unavailable(id, (members[0] as Member).name, "upstream_unavailable");
  const names = members.map(({ name }) => name).join(", ");
  const { rpcCode: code } = FAULTS.upstream_unavailable;
  const error = {
    code,
    message: `None of the servers is available: ${names}.`,
    data: { reason: "upstream_unavailable", servers: members.map(({ name }) => name) },
  };
  return Buffer.from(`{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify(error)}}`);
}
