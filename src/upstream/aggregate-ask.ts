import {
  errorCode,
  errorMessage,
  isNotFound,
  METHOD_NOT_FOUND,
  resultMessage,
  unavailable,
  withId,
} from "./aggregate-answers.ts";
import { hasCapability } from "./aggregate-capabilities.ts";
import { type Crew, type Question, waitFor } from "./aggregate-crew.ts";
import type { Member } from "./aggregate-member.ts";

/** The first answer that is not "I have no such thing", and who has the thing. */
export async function askInOrder(
  { startMs, told }: Crew,
  candidates: readonly Member[],
  { id, method, message, signal }: Question,
): Promise<{ answer: Buffer; member?: Member }> {
  let refusal: Buffer | undefined;
  const absent: Member[] = [];
  for (const member of candidates) {
    // The others would wait for one that may not come back.
    if (told.isAnswered && !member.isReady) {
      absent.push(member);
      continue;
    }
    const outcome = await member.ask(message, startMs, signal);
    if (typeof outcome === "string") {
      absent.push(member);
      continue;
    }
    const code = errorCode(outcome.message, outcome);
    if (!outcome.failed) return { answer: withId(outcome.message, id), member };
    if (!isNotFound(code)) return { answer: withId(outcome.message, id) };
    if (refusal === undefined || code !== METHOD_NOT_FOUND) refusal = outcome.message;
  }
  if (refusal !== undefined) return { answer: withId(refusal, id) };
  if (absent.length > 0) {
    const names = absent.map(({ name }) => name).join(", ");
    return { answer: unavailable(id, names, (absent[0] as Member).fault) };
  }
  return { answer: errorMessage(id, METHOD_NOT_FOUND, `No server offers ${method}`) };
}

/** Tells all who log which level the client wants. */
export async function setLogLevel(crew: Crew, { id, message, signal }: Question): Promise<Buffer> {
  crew.told.noteLogLevel(message);
  const loggers = crew.members.filter((member) => member.isReady && hasCapability(member, "logging"));
  const outcomes = await Promise.all(
    loggers.map((member) => member.ask(message, waitFor(member, crew), signal)),
  );
  const answers = outcomes.filter((outcome) => typeof outcome !== "string");
  const refusal = answers.every(({ failed }) => failed) ? answers[0] : undefined;
  if (refusal !== undefined) return withId(refusal.message, id);
  // One that is away is told when it comes back.
  return loggers.length === 0 && crew.members.every((member) => member.isReady)
    ? errorMessage(id, METHOD_NOT_FOUND, "No server offers logging")
    : resultMessage(id, "{}");
}
