import { LRUCache } from "lru-cache";
import type { Log } from "../log.ts";
import { openAsk, readAsk, sealAnswer, type AskHeader, type RelayKey, type Sealed } from "./envelope.ts";
import { answerJoined, JOINED, MAX_ANSWERS_BYTES, readJoined } from "./joined.ts";
import type { RelayAnswer, RelayEvents, RelayMessage } from "./relay.ts";
import { createRareLog } from "./rare-log.ts";

/** Asks an instance whether it is the one that it is taken for. Answered here; the session room never hears of it. */
export const HELLO = { kind: "relay/hello", head: {}, bodies: [] } as const;

/** How far clocks may be apart, and so how long an envelope is worth anything at most. */
const CLOCK_MS = 60_000;
/** How long a message is remembered, so that it is not carried out again. */
const REMEMBERED_MS = 300_000;
const MAX_REMEMBERED = 20_000;

/**
 * What becomes of an envelope. `refused`: it is forged, too late or malformed. `misdirected`: it is proven, but for
 * another instance, and `reply` says so. `admitted`: its payload is worth reading.
 */
export type Admission =
  | { readonly kind: "refused" }
  | { readonly kind: "misdirected"; readonly reply: Sealed }
  | {
      readonly kind: "admitted";
      readonly from: string;
      /** How long the payload is, in bytes. */
      readonly size: number;
      /**
       * Carries the message out, unless that was done before, and resolves with the sealed answer. `refused`: it was not
       * carried out and never will be. `silent`: nothing may be said any more.
       */
      carryOut(payload: Buffer): Promise<Sealed | "refused" | "silent">;
    };

/** What all drivers hand arriving envelopes to. */
export interface Inbox {
  admit(seal: string): Admission;
  /** Resolves when nothing is being carried out. */
  idle(): Promise<void>;
  /** Admits nothing more. */
  close(): void;
}

export interface InboxOptions {
  instanceId: string;
  key: RelayKey;
  log: Log;
  events: Pick<RelayEvents, "onMessage">;
}

const REFUSED = Promise.resolve("refused" as const);

type Said = RelayAnswer | "silent";

interface Remembered {
  readonly sentAt: number;
  readonly outcome: Promise<Said>;
}

/** What can be known of one message, be it by itself or joined with others. */
type Known = Pick<AskHeader, "id" | "kind" | "from" | "sentAt" | "expiresAt">;

/** Verifies what arrives, and has each message carried out at most once and before its deadline. */
export function createInbox({ instanceId, key, log, events }: InboxOptions): Inbox {
  /** Messages sent up to then may have been forgotten, so they are not taken any more. */
  let forgottenUntil = 0;
  const seen = new LRUCache<string, Remembered>({
    max: MAX_REMEMBERED,
    ttl: REMEMBERED_MS,
    dispose: ({ sentAt }, _id, reason) => {
      if (reason === "evict") forgottenUntil = Math.max(forgottenUntil, sentAt);
    },
  });
  const running = new Set<Promise<unknown>>();
  const warn = createRareLog(log);
  let closed = false;

  function isTimely({ sentAt, expiresAt, from }: Known): boolean {
    const now = Date.now();
    if (now < expiresAt && Math.abs(now - sentAt) <= CLOCK_MS) return true;
    warn({ from, lateMs: now - expiresAt }, "relayed message dropped: too late, or the clocks differ");
    return false;
  }

  function work(known: Known, message: RelayMessage): Promise<RelayAnswer> {
    if (known.kind === HELLO.kind) return Promise.resolve({});
    if (known.kind !== JOINED) return events.onMessage(known.from, message);
    const asked = readJoined(message);
    if (asked === undefined) return Promise.reject(new Error("joined messages are not whole"));
    return answerJoined(
      asked.map((one) => take({ ...known, id: one.id, kind: one.message.kind }, () => one.message)),
    );
  }

  async function answer(known: Known, message: RelayMessage): Promise<Said> {
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<"silent">((resolve) => {
      timer = setTimeout(() => resolve("silent"), known.expiresAt - Date.now()).unref();
    });
    try {
      const said = await Promise.race([work(known, message), tooLate]);
      // The timer may be late itself, after a freeze.
      return Date.now() >= known.expiresAt ? "silent" : said;
    } catch (err) {
      log.error({ err, kind: known.kind }, "relayed message failed");
      return "silent";
    } finally {
      clearTimeout(timer);
    }
  }

  /** Has a message carried out that was not before. `readMessage` is called for such a one only. */
  function take(known: Known, readMessage: () => RelayMessage | undefined): Promise<Said | "refused"> {
    const before = seen.get(known.id);
    if (before !== undefined) return before.outcome;
    // Looked at again: reading the payload took its time, and the process may have been frozen meanwhile.
    if (closed || !isTimely(known) || known.sentAt <= forgottenUntil) return REFUSED;
    const message = readMessage();
    if (message === undefined) return REFUSED;
    const outcome = answer(known, message);
    seen.set(known.id, { sentAt: known.sentAt, outcome });
    running.add(outcome);
    void outcome.finally(() => running.delete(outcome));
    return outcome;
  }

  async function carryOut(header: AskHeader, payload: Buffer): Promise<Sealed | "refused" | "silent"> {
    const said = await take(header, () => readAsk(header, payload));
    if (typeof said !== "object") return said;
    const route = { id: header.id, from: instanceId, to: header.from };
    const sealed = sealAnswer(key, route, said);
    const isTooLong = header.kind === JOINED && sealed.payload.length > MAX_ANSWERS_BYTES;
    return isTooLong ? sealAnswer(key, route, { answers: [] }) : sealed;
  }

  return {
    admit(seal) {
      const header = openAsk(key, seal);
      if (closed || header === undefined || header.hop !== 1 || !isTimely(header)) return { kind: "refused" };
      const { id, from, to, size } = header;
      if (to !== instanceId) {
        return { kind: "misdirected", reply: sealAnswer(key, { id, from: instanceId, to: from }, {}) };
      }
      return { kind: "admitted", from, size, carryOut: (payload) => carryOut(header, payload) };
    },
    idle: async () => void (await Promise.all(running)),
    close: () => void (closed = true),
  };
}
