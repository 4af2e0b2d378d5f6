import { type Span, locate, splice, stringAt } from "../protocol/splice.ts";
import { errorCode, errorMessage, INVALID_PARAMS, METHOD_NOT_FOUND, withId } from "./aggregate-answers.ts";
import { hasCapability } from "./aggregate-capabilities.ts";
import { type Crew, type Question, waitFor } from "./aggregate-crew.ts";
import { decodeCursor, encodeCursor, type Place } from "./aggregate-cursor.ts";
import { elementsAt } from "./aggregate-items.ts";
import type { Member, Outcome } from "./aggregate-member.ts";
import { prefixing } from "./aggregate-names.ts";
import type { Owners } from "./aggregate-owners.ts";
import { joinPages, type Page } from "./aggregate-pages.ts";
import { locateModern } from "./aggregate-pages.ts";
import { textOf, valueOf, withMembers, withoutMembers } from "./modern-members.ts";

/** How the lists of one method are merged. */
interface List {
  /** The member of the result that is the list. */
  readonly field: string;
  readonly capability: string;
  /** Whether the names of its items get the server's prefix. */
  readonly renames: boolean;
  /** What an item tells of who has what. */
  learn?(owners: Owners, item: Buffer, server: string): void;
}

const LISTS: Readonly<Record<string, List>> = {
  "tools/list": { field: "tools", capability: "tools", renames: true },
  "prompts/list": { field: "prompts", capability: "prompts", renames: true },
  "resources/list": {
    field: "resources",
    capability: "resources",
    renames: false,
    learn: (owners, item, server) => owners.learnUri(stringAt(item, ["uri"]) ?? "", server),
  },
  "resources/templates/list": {
    field: "resourceTemplates",
    capability: "resources",
    renames: false,
    learn: (owners, item, server) => owners.learnTemplate(stringAt(item, ["uriTemplate"]) ?? "", server),
  },
  "tasks/list": {
    field: "tasks",
    capability: "tasks",
    renames: false,
    learn: (owners, item, server) => owners.learnTask(stringAt(item, ["taskId"]) ?? "", server),
  },
};

/** Whether this method asks for a list that is merged. */
export const isList = (method: string): boolean => Object.hasOwn(LISTS, method);

/** A page of ours that is longer gets no further member's page. */
const MAX_PAGE_BYTES = 1024 * 1024;

/**
 * One page of the merged list: the members' pages one after another, up to the first member that has more of its own.
 * So a client that does not know of pages sees all, as long as no server needs them.
 */
export async function listAll(crew: Crew, question: Question): Promise<Buffer> {
  const { id, method, message, signal } = question;
  const list = LISTS[method] as List;
  const begin = beginning(crew, method, message);
  if (begin === undefined) return errorMessage(id, INVALID_PARAMS, "Invalid cursor");
  const enough = new AbortController();
  const until = AbortSignal.any([signal, enough.signal]);
  const first = crew.members.findIndex(({ name }) => name === begin.server);
  const asked: Promise<Answer>[] = [];
  // All at once, so that the slowest one alone decides how long it takes; but not while one has more to give.
  const askFrom = (from: number): void => {
    for (let at = from; at < crew.members.length; at += 1) {
      asked[at] ??= ask(crew, crew.members[at] as Member, list, page(message, undefined), until);
    }
  };
  if (begin.cursor === undefined) askFrom(first);
  else asked[first] = ask(crew, crew.members[first] as Member, list, page(message, begin.cursor), until);

  const pages: Page[] = [];
  const absent: string[] = [];
  let bytes = 0;
  let next: Place | undefined;
  for (let at = first; at < crew.members.length; at += 1) {
    const member = crew.members[at] as Member;
    askFrom(at);
    const answer = await (asked[at] as Promise<Answer>);
    if (answer === "none") continue;
    if (typeof answer === "string") {
      absent.push(member.name);
      continue;
    }
    if (answer.failed) {
      const code = errorCode(answer.message, answer);
      if (at === first && begin.cursor !== undefined && code === INVALID_PARAMS)
        return withId(answer.message, id);
      if (code !== METHOD_NOT_FOUND) absent.push(member.name);
      continue;
    }
    pages.push({ message: answer.message, items: itemsOf(answer.message, list, member, crew.owners) });
    bytes += answer.message.length;
    const cursor = valueOf(answer.message, ["result", "nextCursor"]);
    const after = crew.members[at + 1];
    if (typeof cursor === "string") next = { server: member.name, cursor };
    else if (bytes > MAX_PAGE_BYTES && after !== undefined) next = { server: after.name, cursor: undefined };
    if (next !== undefined) break;
  }
  enough.abort();
  const nextCursor = next && encodeCursor(method, next);
  return joinPages({
    id,
    field: list.field,
    pages,
    absent,
    nextCursor,
    crew,
    isModern: locateModern(message),
  });
}

type Answer = Outcome | "none";

function beginning({ members }: Crew, method: string, message: Buffer): Place | undefined {
  if (textOf(message, ["params", "cursor"]) === undefined) {
    return { server: (members[0] as Member).name, cursor: undefined };
  }
  const place = decodeCursor(method, valueOf(message, ["params", "cursor"]));
  return place !== undefined && members.some(({ name }) => name === place.server) ? place : undefined;
}

/** The client's request with a member's own cursor, or from the member's beginning. */
function page(message: Buffer, cursor: string | undefined): Buffer {
  return cursor === undefined
    ? withoutMembers(message, ["params"], ["cursor"])
    : withMembers(message, ["params"], { cursor: JSON.stringify(cursor) });
}

async function ask(
  crew: Crew,
  member: Member,
  { capability }: List,
  message: Buffer,
  signal: AbortSignal,
): Promise<Answer> {
  // The client was told who is there; whoever comes later is announced.
  if (crew.told.isAnswered && !member.isReady) return member.fault;
  if (!hasCapability(member, capability)) return "none";
  return member.ask(message, waitFor(member, crew), signal);
}

function itemsOf(
  message: Buffer,
  { field, renames, learn }: List,
  { name }: Member,
  owners: Owners,
): Buffer[] {
  const spans: Span[] = elementsAt(message, ["result", field]) ?? [];
  return spans.map(({ start, end }) => {
    const item = message.subarray(start, end);
    learn?.(owners, item, name);
    return renames ? splice(item, prefixing(item, locate(item, ["name"]), name)) : item;
  });
}
