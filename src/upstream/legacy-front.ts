import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { type Envelope, scanMessage } from "../protocol/json-rpc.ts";
import { EraMemory } from "./legacy-memory.ts";
import { isOfEra, isOfKnownVersion, mayBeOfEra } from "./legacy-refusal.ts";
import { LegacyTalk } from "./legacy-talk.ts";
import { ownedBy } from "./owned.ts";
import type { Link, LinkEnd, LinkEvents, Upstream } from "./upstream.ts";

export interface LegacyFrontOptions {
  log: Log;
}

/**
 * What a session of a version with `initialize` gets: the server itself, or, when that speaks only 2026-07-28, a
 * translation. Which of the two it is shows at the first `initialize`. It is remembered for a while where the server
 * would refuse every other one too.
 *
 * @param direct links for sessions.
 * @param stateless links for single requests of the 2026-07-28 era, to the same server.
 */
export function legacyFront(direct: Upstream, stateless: Upstream, { log }: LegacyFrontOptions): Upstream {
  const links = new Set<FrontLink>();
  const memory = new EraMemory();
  let closed = false;
  return {
    name: direct.name,
    get isFull() {
      return memory.isModern ? stateless.isFull : direct.isFull;
    },
    async open(events, signal) {
      signal.throwIfAborted();
      if (closed) throw new GatewayError("upstream_start_failed");
      const parts = { direct, stateless, memory, events, log, onGone: () => void links.delete(link) };
      const link = new FrontLink(parts);
      await link.start(signal);
      links.add(link);
      if (!closed) return link;
      await link.close();
      throw new GatewayError("upstream_start_failed");
    },
    async close() {
      closed = true;
      await Promise.all([...links].map((link) => link.close()));
      await Promise.all([direct.close(), stateless.close()]);
    },
  };
}

interface FrontParts {
  direct: Upstream;
  stateless: Upstream;
  memory: EraMemory;
  events: LinkEvents;
  log: Log;
  onGone(): void;
}

/** One session's connection, to the server itself until that has refused an `initialize` for its era. */
class FrontLink implements Link {
  readonly #parts: FrontParts;
  /** Ends what is being opened anew. */
  #giveUp: AbortController | undefined;
  #direct: Link | undefined;
  #talk: LegacyTalk | undefined;
  /** A translation that is about to be tried. */
  #trial: LegacyTalk | undefined;
  #directEnd: LinkEnd | undefined;
  /** The `initialize` that is not answered yet. */
  #initialize: { id: string; message: Buffer } | undefined;
  /** Whether no `initialize` was answered so far. */
  #isNew = true;
  #isPaused = false;
  #isEnded = false;
  #closed: Promise<void> | undefined;

  constructor(parts: FrontParts) {
    this.#parts = parts;
  }

  async start(signal: AbortSignal): Promise<void> {
    if (this.#parts.memory.isModern) this.#talk = this.#newTalk();
    else await this.#openDirect(signal);
  }

  send(message: Buffer, known?: Envelope): Promise<void> | undefined {
    if (this.#isEnded || this.#closed !== undefined)
      return Promise.reject(new GatewayError("upstream_exited"));
    const server = this.#talk ?? this.#trial ?? this.#direct;
    if (server === undefined) return Promise.reject(new GatewayError("upstream_exited"));
    if (!this.#isNew) return server.send(message, known);
    const envelope = known ?? scanMessage(message);
    if (typeof envelope !== "string" && envelope.method === "initialize") {
      this.#initialize = { id: envelope.id as string, message };
      if (this.#talk !== undefined) return this.#introduceAnew(this.#talk, message);
      return server.send(message, known)?.catch((error: unknown) => this.#tryAfter(error, message));
    }
    return server.send(message, known);
  }

  pause(): void {
    this.#isPaused = true;
    this.#direct?.pause();
    this.#talk?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#direct?.resume();
    this.#talk?.resume();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#giveUp?.abort(new GatewayError("upstream_exited"));
    await Promise.all([this.#talk?.close(), this.#trial?.close(), this.#direct?.close()]);
    this.#end("closed");
  }

  async #openDirect(signal: AbortSignal): Promise<void> {
    try {
      const link: Link = await this.#parts.direct.open(
        {
          owner: this.#parts.events.owner,
          onMessage: (message, envelope) => this.#take(message, envelope),
          onRest: (id) => this.#parts.events.onRest?.(id),
          // The link that was left for the translation ends too.
          onEnd: (end) => {
            this.#directEnd = end;
            if (this.#talk === undefined && this.#trial === undefined) this.#end(end);
          },
        },
        signal,
      );
      this.#direct = link;
      if (this.#isPaused) link.pause();
    } catch (error) {
      if (!(error instanceof GatewayError) || error.reason !== "upstream_era") throw error;
      this.#talk = this.#newTalk();
    }
  }

  #newTalk(): LegacyTalk {
    const { stateless, log } = this.#parts;
    const upstream = ownedBy(stateless, this.#parts.events.owner ?? this);
    const talk = new LegacyTalk({ upstream, log, onMessage: (message) => this.#give(message) });
    if (this.#isPaused) talk.pause();
    return talk;
  }

  #take(message: Buffer, known: Envelope | undefined): void {
    if (this.#talk !== undefined) return;
    if (!this.#isNew || this.#trial !== undefined || this.#initialize === undefined)
      return this.#give(message, known);
    const envelope = known ?? scanMessage(message);
    if (typeof envelope === "string" || envelope.id !== this.#initialize.id || envelope.kind !== "response")
      return this.#give(message);
    if (envelope.failed && mayBeOfEra(message)) {
      void this.#tryInstead(this.#initialize.message, message);
    } else {
      this.#isNew = false;
      this.#give(message);
    }
  }

  /** The server has answered this `initialize` with a refusal: the client gets it only if there is no other way. */
  async #tryInstead(initialize: Buffer, refusal: Buffer): Promise<void> {
    if (await this.#try(initialize, isOfEra(refusal, initialize))) return;
    this.#give(refusal);
    if (this.#directEnd !== undefined) this.#end(this.#directEnd);
  }

  /** The server did not take this `initialize`. Over HTTP that may be how it says that it knows none. */
  async #tryAfter(error: unknown, initialize: Buffer): Promise<void> {
    const { reason } = error instanceof GatewayError ? error : {};
    if (reason !== "upstream_era" && reason !== "upstream_unreachable") throw error;
    const isSure = reason === "upstream_era" && isOfKnownVersion(initialize);
    if (!(await this.#try(initialize, isSure))) throw error;
  }

  /**
   * Whether the server answers in the other era. Then the client has its answer.
   *
   * @param isSure whether others would be refused too. One odd client must not choose the era of all.
   */
  async #try(initialize: Buffer, isSure: boolean): Promise<boolean> {
    const { memory, log } = this.#parts;
    const talk = this.#newTalk();
    this.#trial = talk;
    const answer = await this.#introduction(talk, initialize).catch((error: unknown) => {
      log.warn({ err: error }, "The server refuses sessions and could not be asked in the other era");
      return undefined;
    });
    this.#trial = undefined;
    if (answer === undefined || this.#closed !== undefined) {
      await talk.close();
      return false;
    }
    if (!memory.isModern)
      log.info({ event: "era_translated" }, "The server refuses sessions: translating into 2026-07-28");
    if (isSure) memory.remember();
    this.#talk = talk;
    this.#isNew = false;
    this.#give(answer);
    await this.#direct?.close();
    return true;
  }

  /** The server is remembered to refuse `initialize`. Where that is not so any more, it gets this one. */
  async #introduceAnew(talk: LegacyTalk, initialize: Buffer): Promise<void> {
    const answer = await this.#introduction(talk, initialize);
    if (this.#closed !== undefined) return;
    if (answer !== undefined) {
      this.#isNew = false;
      return this.#give(answer);
    }
    this.#parts.memory.forget();
    this.#talk = undefined;
    await talk.close();
    if (this.#closed !== undefined) throw new GatewayError("upstream_exited");
    this.#giveUp = new AbortController();
    await this.#openDirect(this.#giveUp.signal);
    this.#giveUp = undefined;
    if (this.#direct === undefined) throw new GatewayError("upstream_start_failed");
    await this.#direct.send(initialize);
  }

  #introduction(talk: LegacyTalk, initialize: Buffer): Promise<Buffer | undefined> {
    return talk.introduce(initialize, this.#initialize?.id as string);
  }

  #give(message: Buffer, envelope?: Envelope): void {
    if (this.#closed === undefined && !this.#isEnded) this.#parts.events.onMessage(message, envelope);
  }

  #end(end: LinkEnd): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#parts.onGone();
    this.#parts.events.onEnd(end);
  }
}
