import { isObject } from "./envelope.ts";
import type { RelayAnswer, RelayMessage } from "./relay.ts";

/** The kind of a message that holds others. Taken apart in this room; the session room never hears of it. */
export const JOINED = "relay/joined";

/** Most messages in one. */
export const MAX_JOINED_MESSAGES = 64;
/** Bodies of a message that is joined, and of all that are joined. Longer ones gain nothing by it. */
export const JOINED_BYTES = { each: 16 * 1024, all: 256 * 1024 } as const;
/** Answers that are longer together are fetched one by one. */
export const MAX_ANSWERS_BYTES = 256 * 1024;
/** How long an answer waits for those of the messages that came with its own. */
const WAIT_MS = 5;

/** A message and its id. */
interface Named {
  readonly id: string;
  readonly message: RelayMessage;
}

/** One of them in the head of the joined one; `bodies`: how many of all bodies are its own. */
type Part = readonly [id: string, kind: string, head: RelayMessage["head"], bodies: number];

/** One message that holds others. */
export const joinMessages = (messages: readonly Named[]): RelayMessage => ({
  kind: JOINED,
  head: {
    parts: messages.map(({ id, message: { kind, head, bodies } }): Part => [id, kind, head, bodies.length]),
  },
  bodies: messages.flatMap(({ message }) => message.bodies),
});

/** The messages in a joined one; undefined when they are not whole. */
export function readJoined({ head, bodies }: RelayMessage): Named[] | undefined {
  const { parts } = head as { parts?: unknown };
  if (!Array.isArray(parts) || parts.length > MAX_JOINED_MESSAGES || !parts.every(isPart)) return undefined;
  let end = 0;
  const messages = parts.map(([id, kind, own, count]) => ({
    id,
    message: { kind, head: own, bodies: bodies.slice(end, (end += count)) },
  }));
  return end === bodies.length ? messages : undefined;
}

function isPart(value: unknown): value is Part {
  if (!Array.isArray(value)) return false;
  const [id, kind, head, bodies] = value as unknown[];
  const isNamed = typeof id === "string" && typeof kind === "string" && kind !== JOINED;
  return isNamed && isObject(head) && Number.isSafeInteger(bodies) && (bodies as number) >= 0;
}

/** What is said to a joined message: null for each of which nothing can be said yet, or ever. */
export function answerJoined(
  outcomes: readonly Promise<RelayAnswer | "refused" | "silent">[],
): Promise<RelayAnswer> {
  return new Promise((resolve) => {
    const answers = outcomes.map((): RelayAnswer | null => null);
    const tell = (): void => resolve({ answers });
    const timer = setTimeout(tell, WAIT_MS);
    let open = outcomes.length;
    outcomes.forEach((outcome, at) => {
      void outcome.then((said) => {
        if (typeof said === "object") answers[at] = said;
        open -= 1;
        if (open > 0) return;
        clearTimeout(timer);
        tell();
      });
    });
  });
}

/** The answers in what was said to a joined message, in its order. */
export function readAnswers({ answers }: RelayAnswer): readonly (RelayAnswer | null | undefined)[] {
  return Array.isArray(answers)
    ? answers.map((one: unknown) => (isObject(one) ? (one as RelayAnswer) : null))
    : [];
}
