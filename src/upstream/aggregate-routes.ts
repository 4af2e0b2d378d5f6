import { stringAt } from "../protocol/splice.ts";
import { errorMessage, INVALID_PARAMS, METHOD_NOT_FOUND, resultMessage } from "./aggregate-answers.ts";
import { askInOrder, setLogLevel } from "./aggregate-ask.ts";
import { hasCapability } from "./aggregate-capabilities.ts";
import type { Crew, Question } from "./aggregate-crew.ts";
import { discover } from "./aggregate-discover.ts";
import { initialize } from "./aggregate-initialize.ts";
import { isList, listAll } from "./aggregate-lists.ts";
import type { Member } from "./aggregate-member.ts";
import { ownerOfName, withoutPrefix } from "./aggregate-names.ts";

/** What becomes of a request: it goes to one member as it is, or is answered by us, perhaps with the members' help. */
export type Route =
  | { readonly member: Member; readonly message: Buffer }
  | { answer(question: Question): Promise<Buffer> | Buffer };

/** Where a request goes. */
export function routeOf(crew: Crew, message: Buffer, method: string): Route {
  switch (method) {
    case "initialize":
      return { answer: (question) => initialize(crew, question) };
    case "ping":
      return { answer: ({ id }) => resultMessage(id, "{}") };
    case "server/discover":
      return { answer: (question) => discover(crew, question) };
    case "logging/setLevel":
      return { answer: (question) => setLogLevel(crew, question) };
    case "tools/call":
      return byName(crew, message, ["params", "name"], "tool");
    case "prompts/get":
      return byName(crew, message, ["params", "name"], "prompt");
    case "completion/complete":
      return stringAt(message, ["params", "ref", "type"]) === "ref/resource"
        ? byUri(crew, message, ["params", "ref", "uri"], "completions")
        : byName(crew, message, ["params", "ref", "name"], "prompt");
    case "resources/read":
      return byUri(crew, message, ["params", "uri"], "resources");
    case "resources/subscribe":
      return subscribing(crew, message);
    case "resources/unsubscribe":
      return unsubscribing(crew, message);
    default:
      if (isList(method)) return { answer: (question) => listAll(crew, question) };
      return method.startsWith("tasks/") ? byTask(crew, message) : unknown(crew, message, method);
  }
}

function byName(crew: Crew, message: Buffer, path: readonly string[], kind: string): Route {
  const name = stringAt(message, path);
  const member = ownerOfName(name ?? "", crew.members);
  if (member !== undefined) return { member, message: withoutPrefix(message, path, member.name) };
  return { answer: ({ id }) => errorMessage(id, INVALID_PARAMS, `Unknown ${kind}: ${name ?? ""}`) };
}

function byUri(crew: Crew, message: Buffer, path: readonly string[], capability: string): Route {
  const uri = stringAt(message, path) ?? "";
  const owner = named(crew, crew.owners.ofUri(uri));
  const asked = owner === undefined ? candidates(crew, uri, capability) : [owner];
  if (asked.length === 1) return { member: asked[0] as Member, message };
  return {
    answer: async (question) => {
      const { answer, member } = await askInOrder(crew, asked, question);
      // Who has answered for it once is asked first from now on.
      if (member !== undefined) crew.owners.learnUri(uri, member.name);
      return answer;
    },
  };
}

function subscribing(crew: Crew, message: Buffer): Route {
  const uri = stringAt(message, ["params", "uri"]) ?? "";
  const owner = named(crew, crew.owners.ofUri(uri));
  const asked = owner === undefined ? candidates(crew, uri, "resources") : [owner];
  return {
    answer: async (question) => {
      const { answer, member } = await askInOrder(crew, asked, question);
      if (member !== undefined) crew.told.noteSubscription(uri, member.name);
      return answer;
    },
  };
}

function unsubscribing(crew: Crew, message: Buffer): Route {
  const uri = stringAt(message, ["params", "uri"]) ?? "";
  const member = named(crew, crew.told.takeSubscription(uri));
  return member === undefined ? byUri(crew, message, ["params", "uri"], "resources") : { member, message };
}

/** Who may have a resource that nobody lists: those whose template fits, then all that have any. */
function candidates(crew: Crew, uri: string, capability: string): Member[] {
  const likely = crew.owners.byTemplate(uri).flatMap((name) => named(crew, name) ?? []);
  return [...new Set([...likely, ...crew.members])].filter((member) => hasCapability(member, capability));
}

function byTask(crew: Crew, message: Buffer): Route {
  const member = named(crew, crew.owners.ofTask(stringAt(message, ["params", "taskId"]) ?? ""));
  if (member !== undefined) return { member, message };
  const asked = crew.members.filter((one) => hasCapability(one, "tasks"));
  return { answer: async (question) => (await askInOrder(crew, asked, question)).answer };
}

/** A vendor's own method: to whom its `params.name` names, or else to the only member there is. */
function unknown(crew: Crew, message: Buffer, method: string): Route {
  const path = ["params", "name"];
  const member = ownerOfName(stringAt(message, path) ?? "", crew.members);
  if (member !== undefined) return { member, message: withoutPrefix(message, path, member.name) };
  const [only, ...others] = crew.members;
  if (only !== undefined && others.length === 0) return { member: only, message };
  const servers = crew.members.map(({ name }) => name).join(", ");
  const why = `${method} names no server: begin params.name with one of ${servers} and two underscores`;
  return { answer: ({ id }) => errorMessage(id, METHOD_NOT_FOUND, why) };
}

const named = ({ members }: Crew, name: string | undefined): Member | undefined =>
  members.find((member) => member.name === name);
