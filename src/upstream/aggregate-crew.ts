import type { Log } from "../log.ts";
import type { Member } from "./aggregate-member.ts";
import type { Owners } from "./aggregate-owners.ts";
import type { Told } from "./aggregate-told.ts";

/** The members of one link, and what is known of the client and of them. */
export interface Crew {
  readonly members: readonly Member[];
  /** The version of the gateway, for `serverInfo`. */
  readonly version: string;
  readonly startMs: number;
  /** How long those who have answered wait for the others, in ms. */
  readonly patienceMs: number;
  readonly told: Told;
  readonly owners: Owners;
  readonly log: Log;
  /** Gives the client one message. */
  emit(message: Buffer): void;
}

/** A request of the client. */
export interface Question {
  /** JSON text. */
  readonly id: string;
  readonly method: string;
  readonly message: Buffer;
  /** The client takes the request back, or the link is closed. */
  readonly signal: AbortSignal;
}

/** The member of `_meta` of a result that names the servers that are not in it. */
export const ABSENT = "mcp-sse-gateway/absent";

export const identity = ({ version }: Crew) => ({ name: "mcp-sse-gateway", version });

/** How long this member's answer to a question for all is waited for: little when it made others wait before. */
export function waitFor(member: Member, { members, patienceMs }: Crew): number {
  const isDoubtful = member.health.isDoubtful && members.some((other) => !other.health.isDoubtful);
  return isDoubtful ? patienceMs / 20 : patienceMs;
}

/** Starts those that have ended, where it is time to try again. Nobody waits for them. */
export function revive({ members, told }: Crew): void {
  if (!told.isAnswered) return;
  for (const member of members) if (!member.isReady) void member.start();
}
