import type { Message } from "../support/sse-client.ts";

/** What one session sent and what its stream brought. */
export interface History {
  session: string;
  /** Nonce of each request, by its id. */
  sent: ReadonlyMap<number, string>;
  /** Everything that came on its stream, in order. */
  received: readonly Message[];
}

/**
 * Reads all histories and tells what they must not hold: an answer on a wrong stream, a lost one, one that came twice,
 * one with another's nonce, and anything that nobody asked for. Nonces of `strangers` may be nowhere.
 */
export function violations(
  histories: readonly History[],
  strangers: ReadonlySet<string> = new Set(),
): string[] {
  const found: string[] = [];
  const owners = new Map<string, string>();
  for (const { session, sent } of histories) for (const nonce of sent.values()) owners.set(nonce, session);
  for (const { session, sent, received } of histories) {
    const answered = new Set<number>();
    for (const message of received) {
      const nonce = nonceOf(message);
      const owner = nonce === undefined ? undefined : owners.get(nonce);
      if (nonce !== undefined && strangers.has(nonce))
        found.push(`${session}: carried out a stranger's request`);
      else if (owner !== undefined && owner !== session) found.push(`${session}: has an answer for ${owner}`);
      else if (typeof message.id !== "number" || !sent.has(message.id))
        found.push(`${session}: nobody asked for ${JSON.stringify(message.id ?? message.method)}`);
      else if (answered.has(message.id)) found.push(`${session}: answer ${message.id} came twice`);
      else {
        answered.add(message.id);
        if (nonce !== sent.get(message.id))
          found.push(`${session}: answer ${message.id} has another's nonce`);
      }
    }
    for (const id of sent.keys()) if (!answered.has(id)) found.push(`${session}: answer ${id} was lost`);
  }
  return found;
}

function nonceOf({ result }: Message): string | undefined {
  const [block] = (result?.["content"] ?? []) as { text?: string }[];
  return block?.text;
}
