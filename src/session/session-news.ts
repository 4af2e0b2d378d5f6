import type { Reason } from "../errors.ts";
import type { Events } from "../events.ts";
import type { Log } from "../log.ts";
import type { SessionRecord } from "../session-store/session-store.ts";
import type { Visitor } from "./fingerprint.ts";
import type { Inheritance, SessionEnd } from "./session-parts.ts";
import type { Session } from "./session.ts";

/** Tells the log, and those who watch, what becomes of sessions. */
export class SessionNews {
  readonly #events: Events;
  readonly #log: Log;

  constructor({ events, log }: { events: Events; log: Log }) {
    this.#events = events;
    this.#log = log;
  }

  opened(session: string, visitor: Visitor, transport: SessionRecord["transport"]): void {
    const { caller, key, server, address } = visitor;
    this.#events.emit({ type: "session_opened", session, caller, key, server, transport, address });
    const told = { event: "session_opened", session, caller, server, transport, address };
    this.#log.info(told, "session opened");
  }

  refused({ caller, address }: Visitor, reason: Reason): void {
    this.#events.emit({ type: "session_refused", caller, reason, address });
  }

  claimed({ id: session, caller, key, epoch }: SessionRecord, inheritance: Inheritance): void {
    this.#events.emit({ type: "session_claimed", session, caller, key, epoch });
    const messages = inheritance.messages.length;
    const unanswered = inheritance.unanswered.length;
    const told = { event: "session_claimed", session, caller, epoch, messages, unanswered };
    this.#log.info(told, "session claimed");
  }

  adopted({ id, caller, key }: Session, isCarried: boolean, address: string): void {
    const where = isCarried ? "other_instance" : "same_instance";
    this.#events.emit({ type: "session_adopted", session: id, caller, key, where, address });
  }

  /** It turned out to be another session's client. */
  merged({ id, caller, key, server }: Session): void {
    this.#events.emit({
      type: "session_closed",
      session: id,
      caller,
      key,
      server,
      end: "merged",
      seconds: 0,
    });
  }

  /** @param seconds how long it was open here. */
  ended({ id, caller, key, server }: Session, end: SessionEnd, seconds: number): void {
    if (end === "released") this.#events.emit({ type: "session_handed_over", session: id, caller, key });
    else this.#events.emit({ type: "session_closed", session: id, caller, key, server, end, seconds });
    this.#log.info({ event: "session_closed", session: id, caller, end }, "session closed");
  }
}
