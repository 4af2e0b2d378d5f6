import { GatewayError, type Reason } from "../errors.ts";
import { cancelled, type Envelope, scanMessage } from "../protocol/json-rpc.ts";
import { withId } from "./aggregate-answers.ts";
import { Backoff } from "./aggregate-backoff.ts";
import { type Health, isTelling } from "./aggregate-health.ts";
import type { Link, LinkEnd, Upstream } from "./upstream.ts";

/** What a member answered to a question of ours; or why it did not. */
export type Outcome = { readonly message: Buffer; readonly failed: boolean } | Reason;

/** What the members of one link share. */
export interface MemberParts {
  readonly startMs: number;
  /** Ends when the link is closed. */
  readonly gone: AbortSignal;
  /** Whether the client takes nothing for the moment, so that no answer can be expected. */
  isPaused(): boolean;
  /** Whether the client has introduced itself, so that a member must be told. */
  isIntroduced(): boolean;
  /** Tells a member that was just opened who the client is, and what it wants. Rejects when the member does not agree. */
  introduce(member: Member, signal: AbortSignal): Promise<void>;
  /** An id for a question of ours, JSON text. No client can guess it. */
  nextId(): string;
  onMessage(member: Member, message: Buffer, envelope: Envelope): void;
  onUnreadable(message: Buffer): void;
  /** It has come, or come back. */
  onUp(member: Member): void;
  /** Its link has ended by itself. `asked` are the requests of it, by their own ids, that the client has not answered. */
  onDown(member: Member, reason: Reason, generation: number, asked: ReadonlySet<string>): void;
}

/** Requests of a server whose answers are awaited; older ones are forgotten. */
const MAX_ASKED = 1000;

/** One server behind one link of the aggregate: opened when it is needed, and again when it has ended. */
export class Member {
  readonly index: number;
  readonly name: string;
  readonly health: Health;
  /** What it answered to `initialize`. */
  introduction: Buffer | undefined;
  /** The error that it answered to `initialize`. */
  refusal: Buffer | undefined;
  /** Whether the client knows that it is there. */
  isAnnounced = false;
  /** Why it is not there. */
  fault: Reason = "upstream_unavailable";
  /** Grows with each link, so that two of them are not taken for one. */
  generation = 0;
  readonly #upstream: Upstream;
  readonly #parts: MemberParts;
  readonly #ends = new Backoff(0);
  readonly #questions = new Map<string, (outcome: Outcome) => void>();
  #asked = new Set<string>();
  #link: Link | undefined;
  #isReady = false;
  #starting: Promise<boolean> | undefined;

  constructor(index: number, upstream: Upstream, health: Health, parts: MemberParts) {
    this.index = index;
    this.name = upstream.name;
    this.health = health;
    this.#upstream = upstream;
    this.#parts = parts;
  }

  /** Whether it can be given messages at once. */
  get isReady(): boolean {
    return this.#isReady && !this.#mustIntroduce();
  }

  /** Whether it can be told what the client tells all: later comers are told by the introduction. */
  get isOpen(): boolean {
    return this.#link !== undefined && !this.#mustIntroduce();
  }

  /** Opens the link and introduces the client, where that is to do and may be tried now. Resolves with whether it is there. */
  start(): Promise<boolean> {
    if (this.#starting !== undefined) return this.#starting;
    if (this.#link !== undefined && !this.#mustIntroduce()) return Promise.resolve(true);
    if (this.#parts.gone.aborted) return Promise.resolve(false);
    if (this.#link === undefined && !(this.health.isDue && this.#ends.isDue)) return Promise.resolve(false);
    const starting = this.#start();
    this.#starting = starting;
    // Ready only after those who wait for this promise have gone on, lest a later message overtake theirs.
    void starting.then((isUp) =>
      queueMicrotask(() => {
        this.#starting = undefined;
        this.#isReady = isUp && this.#link !== undefined;
        if (this.#isReady) this.#parts.onUp(this);
      }),
    );
    return starting;
  }

  /** Gives it one message. As `Link.send`. */
  give(message: Buffer): Promise<void> | undefined {
    return (
      this.#link?.send(message) ?? (this.#link ? undefined : Promise.reject(new GatewayError(this.fault)))
    );
  }

  /** Tells it something that it may miss. */
  tell(message: Buffer): void {
    this.give(message)?.catch(() => undefined);
  }

  /** Asks it something under an id of ours. Never rejects. `signal` takes the question back. */
  ask(message: Buffer, waitMs: number, signal: AbortSignal): Promise<Outcome> {
    return new Promise((resolve) => {
      const id = this.#parts.nextId();
      let isOver = false;
      const settle = (outcome: Outcome): void => {
        isOver = true;
        clearTimeout(timer);
        signal.removeEventListener("abort", takeBack);
        this.#questions.delete(id);
        resolve(outcome);
      };
      const takeBack = (): void => {
        if (this.#questions.has(id)) this.tell(cancelled(id, "not waited for any more"));
        settle("upstream_timeout");
      };
      const late = (): void => {
        if (this.#parts.isPaused()) timer = setTimeout(late, waitMs);
        else {
          this.health.tookTooLong();
          takeBack();
        }
      };
      let timer = setTimeout(late, waitMs);
      signal.addEventListener("abort", takeBack, { once: true });
      const give = (isUp: boolean): void => {
        if (isOver) return;
        if (!isUp) return settle(this.fault);
        this.#questions.set(id, settle);
        this.give(withId(message, id))?.catch((error: unknown) =>
          settle(isOfOtherEra(error) ? "upstream_era" : "upstream_unavailable"),
        );
      };
      if (signal.aborted) takeBack();
      else if (this.isReady) give(true);
      else void this.start().then(give);
    });
  }

  /** Asks it something while it is being started, before anybody else may. Rejects when it does not answer. */
  async question(message: Buffer, signal: AbortSignal): Promise<{ message: Buffer; failed: boolean }> {
    const id = this.#parts.nextId();
    const outcome = await new Promise<Outcome>((resolve, reject) => {
      this.#questions.set(id, resolve);
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      this.give(withId(message, id))?.catch(reject);
    }).finally(() => this.#questions.delete(id));
    if (typeof outcome === "string") throw new GatewayError(outcome);
    return outcome;
  }

  /** It asks the client something. */
  asks(id: string): void {
    this.#asked.add(id);
    if (this.#asked.size > MAX_ASKED) this.#asked.delete(this.#asked.values().next().value as string);
  }

  /** Whether it waits for the answer to this; it does no more. */
  takeAsked(id: string): boolean {
    return this.#asked.delete(id);
  }

  pause(): void {
    this.#link?.pause();
  }

  resume(): void {
    this.#link?.resume();
  }

  /** Ends its link. Resolves when nothing of it is left. Another may be opened then. */
  async close(): Promise<void> {
    const starting = this.#starting;
    const link = this.#forget();
    await link?.close();
    await starting;
    await this.#forget()?.close();
  }

  #mustIntroduce(): boolean {
    return this.introduction === undefined && this.#parts.isIntroduced();
  }

  async #start(): Promise<boolean> {
    const signal = AbortSignal.any([this.#parts.gone, AbortSignal.timeout(this.#parts.startMs)]);
    this.refusal = undefined;
    this.health.trying();
    try {
      if (this.#link === undefined) await this.#open(signal);
      if (this.#mustIntroduce()) await this.#parts.introduce(this, signal);
      this.health.started();
      return true;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  async #open(signal: AbortSignal): Promise<void> {
    const generation = (this.generation += 1);
    const link = await this.#upstream.open(
      {
        onMessage: (message) => generation === this.generation && this.#take(message),
        onEnd: (end) => generation === this.generation && this.#ended(end),
      },
      signal,
    );
    if (generation !== this.generation || this.#parts.gone.aborted) {
      await link.close();
      throw new GatewayError("upstream_exited");
    }
    this.#link = link;
    if (this.#parts.isPaused()) link.pause();
  }

  #fail(error: unknown): void {
    if (this.#parts.gone.aborted) return;
    const reason = error instanceof GatewayError ? error.reason : "upstream_unavailable";
    this.fault = reason === "upstream_era" ? reason : "upstream_unavailable";
    // One that refuses this client's introduction may well suit the next.
    if (this.refusal === undefined && isTelling(error)) this.health.failed(error);
    else if (this.refusal !== undefined) this.#ends.failed();
    this.#forget()
      ?.close()
      .catch(() => undefined);
  }

  #take(message: Buffer): void {
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return this.#parts.onUnreadable(message);
    const settle = envelope.kind === "response" ? this.#questions.get(envelope.id as string) : undefined;
    if (settle === undefined) return this.#parts.onMessage(this, message, envelope);
    this.#questions.delete(envelope.id as string);
    settle({ message, failed: envelope.failed });
  }

  #ended(end: LinkEnd): void {
    const reason = end === "closed" ? "upstream_exited" : end;
    const asked = this.#asked;
    const { generation } = this;
    this.fault = "upstream_unavailable";
    if (this.#isReady) this.#ends.failed();
    this.#forget(reason);
    this.#parts.onDown(this, reason, generation, asked);
  }

  /** Whatever the old link still says is not heard. */
  #forget(reason: Reason = "upstream_unavailable"): Link | undefined {
    const link = this.#link;
    this.generation += 1;
    this.#link = undefined;
    this.#isReady = false;
    this.introduction = undefined;
    this.isAnnounced = false;
    this.#asked = new Set();
    const questions = [...this.#questions.values()];
    this.#questions.clear();
    for (const settle of questions) settle(reason);
    return link;
  }
}

const isOfOtherEra = (error: unknown): boolean =>
  error instanceof GatewayError && error.reason === "upstream_era";
