import { resultMessage, unavailable } from "./aggregate-answers.ts";
import { unite } from "./aggregate-capabilities.ts";
import type { Crew, Question } from "./aggregate-crew.ts";
import type { Member } from "./aggregate-member.ts";
import { idOf, valueOf } from "./modern-members.ts";
import { META } from "../protocol/modern-terms.ts";

const ACKNOWLEDGED = "notifications/subscriptions/acknowledged";
/** What comes before our acknowledgement waits for it; if it is more, the acknowledgement comes sooner. */
const MAX_HELD = 100;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;

/** What a member grants of a subscription. */
type Honored = Record<string, unknown>;

interface Part {
  state: "asked" | "heard" | "lost" | "over";
  honored: Honored;
  /** How often it was lost. */
  losses: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * One `subscriptions/listen` of the client, which every member is asked: one acknowledgement, the events of all, one
 * end. A member that is lost is asked again, since its changes would go unseen.
 */
export class Listening {
  readonly #crew: Crew;
  readonly #question: Pick<Question, "id" | "message">;
  readonly #finished: (answer: Buffer) => void;
  readonly #parts = new Map<Member, Part>();
  readonly #held: Buffer[] = [];
  readonly #patience: NodeJS.Timeout;
  #isPatient = true;
  #isAcknowledged = false;
  #isOver = false;
  #result: Buffer | undefined;
  #refusal: Buffer | undefined;

  /** @param finished takes the one answer. */
  constructor(crew: Crew, question: Pick<Question, "id" | "message">, finished: (answer: Buffer) => void) {
    this.#crew = crew;
    this.#question = question;
    this.#finished = finished;
    this.#patience = setTimeout(() => {
      this.#isPatient = false;
      this.#look();
    }, crew.patienceMs);
    for (const member of crew.members) {
      const part: Part = { state: "asked", honored: {}, losses: 0, timer: undefined };
      this.#parts.set(member, part);
      this.#ask(member, part);
    }
  }

  /** Takes a notification of a member, if it belongs here. */
  take(member: Member, message: Buffer, method: string): boolean {
    const part = this.#parts.get(member);
    if (part === undefined || idOf(message, ["params", "_meta", META.subscriptionId]) !== this.#question.id)
      return false;
    if (method === ACKNOWLEDGED) this.#heard(part, message);
    else if (this.#isAcknowledged) this.#crew.emit(message);
    else {
      this.#held.push(message);
      if (this.#held.length >= MAX_HELD) this.#acknowledge();
    }
    return true;
  }

  /** A member has answered: it does not listen, or does no more. */
  answered(member: Member, message: Buffer, failed: boolean): void {
    const part = this.#parts.get(member) as Part;
    if (failed) this.#refusal ??= message;
    else this.#result = message;
    if (!failed && Object.keys(part.honored).length > 0) return this.lost(member);
    part.state = "over";
    this.#look();
  }

  /** A member is gone, or was never there. */
  lost(member: Member): void {
    const part = this.#parts.get(member) as Part;
    if (this.#isOver || part.state === "over" || part.state === "lost") return;
    part.state = member.fault === "upstream_era" ? "over" : "lost";
    if (part.state === "lost") {
      const retryMs = Math.min(FIRST_RETRY_MS * 2 ** part.losses, MAX_RETRY_MS);
      part.losses += 1;
      part.timer = setTimeout(() => this.#ask(member, part), retryMs).unref();
    }
    this.#look();
  }

  /** Ends it without an answer. */
  stop(): void {
    this.#isOver = true;
    clearTimeout(this.#patience);
    for (const { timer } of this.#parts.values()) clearTimeout(timer);
  }

  #ask(member: Member, part: Part): void {
    void member.start().then((isUp) => {
      if (this.#isOver) return;
      part.state = "asked";
      if (isUp) member.give(this.#question.message)?.catch(() => this.lost(member));
      else this.lost(member);
    });
  }

  #heard(part: Part, message: Buffer): void {
    const honored = objectOr(valueOf(message, ["params", "notifications"]));
    part.state = "heard";
    part.honored = honored;
    if (this.#isAcknowledged) this.#announce(honored);
    else this.#look();
  }

  /** Somebody has come whom the client does not know of, or whose changes it may have missed. */
  #announce(honored: Honored): void {
    for (const list of ["tools", "prompts", "resources"]) {
      if (honored[`${list}ListChanged`] !== true) continue;
      const params = `{"_meta":{"${META.subscriptionId}":${this.#question.id}}}`;
      this.#crew.emit(
        Buffer.from(`{"jsonrpc":"2.0","method":"notifications/${list}/list_changed","params":${params}}`),
      );
    }
  }

  /** Acknowledges and ends, where it is time for it. */
  #look(): void {
    if (this.#isOver) return;
    const states = [...this.#parts.values()].map(({ state }) => state);
    const isAnyHeard = [...this.#parts.values()].some((part) => part.state === "heard" || isGranted(part));
    if (!this.#isAcknowledged) {
      if (states.includes("asked") && (this.#isPatient || !isAnyHeard)) return;
      if (isAnyHeard || this.#result !== undefined) this.#acknowledge();
      else return this.#finish(this.#refusal ?? this.#nobody());
    }
    if (states.every((state) => state === "over")) this.#finish(this.#result ?? this.#end());
  }

  #acknowledge(): void {
    this.#isAcknowledged = true;
    clearTimeout(this.#patience);
    const honored = [...this.#parts.values()].map((part) => part.honored);
    const uris = honored.flatMap(({ resourceSubscriptions: some }) =>
      Array.isArray(some) ? (some as unknown[]) : [],
    );
    const notifications = {
      ...unite(honored),
      ...(uris.length > 0 ? { resourceSubscriptions: [...new Set(uris)] } : {}),
    };
    const meta = `{"${META.subscriptionId}":${this.#question.id}}`;
    const params = `{"notifications":${JSON.stringify(notifications)},"_meta":${meta}}`;
    this.#crew.emit(Buffer.from(`{"jsonrpc":"2.0","method":"${ACKNOWLEDGED}","params":${params}}`));
    for (const message of this.#held.splice(0)) this.#crew.emit(message);
  }

  #finish(answer: Buffer): void {
    this.stop();
    this.#finished(answer);
  }

  #nobody(): Buffer {
    const { members } = this.#crew;
    return unavailable(
      this.#question.id,
      members.map(({ name }) => name).join(", "),
      (members[0] as Member).fault,
    );
  }

  #end(): Buffer {
    const meta = `{"${META.subscriptionId}":${this.#question.id}}`;
    return resultMessage(this.#question.id, `{"resultType":"complete","_meta":${meta}}`);
  }
}

const objectOr = (value: unknown): Honored =>
  typeof value === "object" && value !== null ? (value as Honored) : {};

const isGranted = ({ honored }: Part): boolean => Object.keys(honored).length > 0;
