import type { Calls } from "./calls.ts";
import type { LoadPlan } from "./orders.ts";
import type { PostConnection } from "./post-connection.ts";
import { SseSession } from "./sse-session.ts";
import { StreamableSession } from "./streamable-session.ts";

/** One client's session, whatever it is spoken over. */
export interface ClientSession {
  readonly calls: Calls;
  readonly isOpen: boolean;
  /** Where its messages are posted. */
  readonly path: string;
  /** The status of a POST that was taken: 202 where answers come on the stream, 200 where they are the response. */
  readonly takenStatus: 200 | 202;
  /** From connecting to the first `endpoint` event, or to the answer of `initialize`. */
  readonly endpointMs: number;
  /** Resolves when messages can be posted: of HTTP+SSE, when the `endpoint` event is in. */
  ready(): Promise<void>;
  /** A keep-alive connection of its own, for one POST at a time. */
  connect(): PostConnection;
  /** `initialize` was answered on that connection. */
  begin(connection: PostConnection): void;
  /** Resolves when the stream for the server's own messages is open. */
  listen(): Promise<void>;
  /** Also closes the connections that it made. */
  close(): void;
}

export interface SessionEvents {
  /** A message came for which no call was pending. */
  onStray(): void;
  /** The stream ended after it had been opened. */
  onLost(): void;
}

/** Resolves to a session that can shake hands: of HTTP+SSE, when its `endpoint` event is in. */
export async function openSession(
  plan: LoadPlan,
  index: number,
  events: SessionEvents,
): Promise<ClientSession> {
  const session =
    plan.transport === "sse"
      ? new SseSession(plan, index, events)
      : new StreamableSession(plan, index, events);
  try {
    await session.ready();
    return session;
  } catch (error) {
    session.close();
    throw error;
  }
}
