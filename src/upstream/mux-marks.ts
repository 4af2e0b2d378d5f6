import { type Envelope } from "../protocol/json-rpc.ts";
import { locate, type Span, spelled, splice, spliceOne, textAt } from "../protocol/splice.ts";

const PROGRESS_TOKEN = "progressToken";
/** Its value is the id of the `subscriptions/listen` request that a message belongs to. */
const SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId";
const LOG_LEVEL = "io.modelcontextprotocol/logLevel";

const ESCAPE = Buffer.from("\\u");
const META = Buffer.from("_meta");

/**
 * False when no member of this name can be in the message: spelled with escapes, it would stand there with a `\u`, or with
 * a `\/` for a slash, as PHP writes it.
 */
export const mayHave = (message: Buffer, name: string): boolean =>
  message.includes(name) || message.includes(ESCAPE) || (name.includes("/") && message.includes("\\/"));

/** The same of `_meta`. */
const mayHaveMeta = (message: Buffer): boolean => message.includes(META) || message.includes(ESCAPE);

/** Where the value at a path stands, without a walk when its last name is nowhere in the message. */
export function find(message: Buffer, ...path: string[]): Span | undefined {
  return mayHave(message, path.at(-1) as string) ? locate(message, path) : undefined;
}

/** The text of the value at a path. */
export function textOf(message: Buffer, ...path: string[]): string | undefined {
  const span = find(message, ...path);
  return span && textAt(message, span);
}

/** The string at a path; undefined when there is none or it is something else. */
export function stringOf(message: Buffer, ...path: string[]): string | undefined {
  const text = textOf(message, ...path);
  return text?.startsWith('"') ? (JSON.parse(text) as string) : undefined;
}

/** A client's request as the server is to see it. */
export interface Renamed {
  readonly message: Buffer;
  /** The client's own id, letter by letter. */
  readonly ownId: string;
  /** The client's own progress token, letter by letter. */
  readonly ownToken: string | undefined;
  /** Whether it asks for log messages, in the era where each request says so. */
  readonly wantsLogs: boolean;
}

/** Gives a request another id, which is its progress token too if it has one. `id` is where its own stands. */
export function renameRequest(message: Buffer, innerId: string, id = locateId(message)): Renamed {
  const hasMeta = mayHaveMeta(message);
  const token = hasMeta ? find(message, "params", "_meta", PROGRESS_TOKEN) : undefined;
  return {
    message: renameAt(message, id, token, innerId),
    ownId: textAt(message, id),
    ownToken: token && textAt(message, token),
    wantsLogs: hasMeta && stringOf(message, "params", "_meta", LOG_LEVEL) !== undefined,
  };
}

/** An answer as the client is to see it, whose id for the request is given letter by letter. `id` is where ours stands. */
export function renameAnswer(answer: Buffer, ownId: string, id = locateId(answer)): Buffer {
  const subscription = mayHaveMeta(answer) ? find(answer, "result", "_meta", SUBSCRIPTION_ID) : undefined;
  const isIts = subscription && spelled(textAt(answer, subscription)) === spelled(textAt(answer, id));
  return renameAt(answer, id, isIts ? subscription : undefined, ownId);
}

function renameAt(message: Buffer, id: Span, other: Span | undefined, text: string): Buffer {
  if (other === undefined) return spliceOne(message, id, text);
  const [first, second] = id.start < other.start ? [id, other] : [other, id];
  return splice(message, [
    { ...first, text },
    { ...second, text },
  ]);
}

const locateId = (message: Buffer): Span => locate(message, ["id"]) as Span;

/** Where the id stands in a message that was looked into. */
export const idOf = ({ idStart, idEnd }: Pick<Envelope, "idStart" | "idEnd">): Span => ({
  start: idStart,
  end: idEnd,
});

/** A place in a message that names a request or its progress, and the name. */
export interface Mark extends Span {
  readonly name: string;
}

function markAt(message: Buffer, path: string[]): Mark | undefined {
  const span = find(message, ...path);
  return span && { ...span, name: spelled(textAt(message, span)) };
}

/** The request that a notification says is cancelled. */
export const cancelledMark = (message: Buffer): Mark | undefined => markAt(message, ["params", "requestId"]);

/** The token that a notification of progress is for. */
export const progressMark = (message: Buffer): Mark | undefined =>
  markAt(message, ["params", PROGRESS_TOKEN]);

/** The token that a request wants its progress told with. */
export const tokenMark = (message: Buffer): Mark | undefined =>
  markAt(message, ["params", "_meta", PROGRESS_TOKEN]);

/** The listen request that a message belongs to. */
export const subscriptionMark = (message: Buffer, { paramsEnd }: Envelope): Mark | undefined =>
  paramsEnd > 0 ? markAt(message, ["params", "_meta", SUBSCRIPTION_ID]) : undefined;

/** The same message with another name in this place. */
export const rename = (message: Buffer, mark: Mark, text: string): Buffer =>
  splice(message, [{ start: mark.start, end: mark.end, text }]);

/** A client's id for its request, letter by letter. */
export const ownIdOf = (request: Buffer): string => textAt(request, locateId(request));

/** The answer to a request that the server is not asked; `result` is JSON text. */
export const answerTo = (request: Buffer, result: string): Buffer =>
  Buffer.from(`{"jsonrpc":"2.0","id":${ownIdOf(request)},"result":${result}}`);
