import { FAULTS, GatewayError, type Reason } from "../errors.ts";
import { cancelled, type Envelope, errorResponse, scanMessage } from "../protocol/json-rpc.ts";
import { locate, type Span, splice, stringAt } from "../protocol/splice.ts";
import { errorMessage, INVALID_REQUEST, unavailable, withId } from "./aggregate-answers.ts";
import { hasCapability } from "./aggregate-capabilities.ts";
import { type Crew, type Question, revive } from "./aggregate-crew.ts";
import { inwardId, outwardId } from "./aggregate-ids.ts";
import { LISTS } from "./aggregate-initialize.ts";
import { Listening } from "./aggregate-listen.ts";
import type { Member } from "./aggregate-member.ts";
import { outwardLog, outwardRequest } from "./aggregate-outward.ts";
import { type Route, routeOf } from "./aggregate-routes.ts";
import { idOf } from "./modern-members.ts";
import type { Link } from "./upstream.ts";

/** A request of the client that has no answer yet. The session bounds how many there are. */
interface Flight {
  readonly id: string;
  /** Who alone is to answer it. */
  readonly member: Member | undefined;
  /** Whether that member has it. */
  isGiven: boolean;
  /** Whether its answer tells of a task. */
  readonly makesTask: boolean;
  /** The client takes it back, with this message; none when the link is closed. */
  takeBack(message?: Buffer): void;
}

/** One session's link to several servers, which it shows as one. */
export class AggregateLink implements Link {
  readonly #crew: Crew;
  readonly #close: () => Promise<void>;
  readonly #flights = new Map<string, Flight>();
  readonly #listens = new Map<string, Listening>();
  /** Lists that have changed before the client may be told so. */
  readonly #news = new Set<string>();
  #isClosed = false;
  #closed: Promise<void> | undefined;
  isPaused = false;

  /** @param close ends what the members have open, and tells the end. */
  constructor(crew: Crew, close: () => Promise<void>) {
    this.#crew = crew;
    this.#close = close;
  }

  send(message: Buffer): Promise<void> | undefined {
    if (this.#isClosed) return Promise.reject(new GatewayError("upstream_exited"));
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return undefined;
    switch (envelope.kind) {
      case "request":
        return this.#request(message, envelope);
      case "notification":
        return this.#notify(message, envelope.method as string);
      case "response":
        return this.#respond(message, envelope);
    }
  }

  pause(): void {
    this.isPaused = true;
    for (const member of this.#crew.members) member.pause();
  }

  resume(): void {
    this.isPaused = false;
    for (const member of this.#crew.members) if (!this.isPaused) member.resume();
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const flight of this.#flights.values()) flight.takeBack();
    this.#flights.clear();
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** A member says something. */
  hear(member: Member, message: Buffer, envelope: Envelope): void {
    switch (envelope.kind) {
      case "response":
        return this.#hearAnswer(member, message, envelope);
      case "request":
        return this.#hearRequest(member, message, envelope);
      case "notification":
        return this.#hearNotification(member, message, envelope.method as string);
    }
  }

  /** A member has come, or come back. */
  cameUp(member: Member): void {
    const { told } = this.#crew;
    if (!told.isAnswered || member.isAnnounced) return;
    member.isAnnounced = true;
    for (const list of LISTS) if (hasCapability(member, list)) this.#news.add(list);
    if (told.isInitialized) this.#tellNews();
  }

  /** A member's link has ended by itself: what it was asked gets no other answer. */
  wentDown(member: Member, reason: Reason, generation: number, asked: ReadonlySet<string>): void {
    for (const id of asked) {
      const outward = outwardId({ index: member.index, generation }, id);
      if (outward !== undefined) this.#crew.emit(cancelled(outward, "the server has ended"));
    }
    for (const flight of [...this.#flights.values()]) {
      if (flight.member === member && flight.isGiven)
        this.#settle(flight, unavailable(flight.id, member.name, reason));
    }
    for (const listening of this.#listens.values()) listening.lost(member);
  }

  #request(message: Buffer, envelope: Envelope): Promise<void> | undefined {
    const id = envelope.id as string;
    const method = envelope.method as string;
    revive(this.#crew);
    if (method === "subscriptions/listen") return this.#listen(id, message);
    const route = routeOf(this.#crew, message, method);
    return "member" in route
      ? this.#direct(id, route.member, route.message)
      : this.#answer({ id, method, message }, route);
  }

  /** Answers a request with the members' help. */
  #answer(asked: Omit<Question, "signal">, route: Extract<Route, { answer: unknown }>): undefined {
    const { id } = asked;
    const takeBack = new AbortController();
    const flight = this.#fly({ id, takeBack: () => takeBack.abort() });
    void (async () => route.answer({ ...asked, signal: takeBack.signal }))()
      .catch((error: unknown) => {
        this.#crew.log.error({ err: error }, "A request for several servers failed");
        return errorResponse(id, FAULTS.internal.rpcCode, FAULTS.internal.error, "internal");
      })
      .then((answer) => this.#settle(flight, answer));
  }

  #listen(id: string, message: Buffer): undefined {
    const listening = new Listening(this.#crew, { id, message }, (answer) => {
      this.#listens.delete(id);
      this.#settle(flight, answer);
    });
    this.#listens.set(id, listening);
    const flight = this.#fly({
      id,
      takeBack: (notice) => {
        listening.stop();
        this.#listens.delete(id);
        if (notice !== undefined) for (const member of this.#crew.members) member.tell(notice);
      },
    });
  }

  #direct(id: string, member: Member, message: Buffer): Promise<void> | undefined {
    const flight = this.#fly({
      id,
      member,
      makesTask: locate(message, ["params", "task"]) !== undefined,
      takeBack: (notice) => {
        if (notice !== undefined && flight.isGiven) member.tell(notice);
      },
    });
    if (member.isReady) return this.#give(flight, member, message);
    return member.start().then((isUp) => {
      if (this.#flights.get(id) !== flight) return;
      if (isUp) return this.#give(flight, member, message);
      this.#settle(flight, unavailable(id, member.name, member.fault));
    });
  }

  #give(flight: Flight, member: Member, message: Buffer): Promise<void> | undefined {
    flight.isGiven = true;
    return member.give(message)?.catch((error: unknown) => {
      if (this.#flights.get(flight.id) !== flight) return;
      if (!(error instanceof GatewayError) || error.reason !== "upstream_busy") {
        return this.#settle(flight, unavailable(flight.id, member.name, "upstream_exited"));
      }
      this.#flights.delete(flight.id);
      throw error;
    });
  }

  #fly(parts: Pick<Flight, "id" | "takeBack"> & Partial<Flight>): Flight {
    const flight = { member: undefined, isGiven: false, makesTask: false, ...parts };
    this.#flights.set(flight.id, flight);
    return flight;
  }

  /** Gives the client the one answer, unless it does not wait any more. */
  #settle(flight: Flight, answer: Buffer): void {
    if (this.#flights.get(flight.id) !== flight) return;
    this.#flights.delete(flight.id);
    this.#crew.emit(answer);
  }

  #notify(message: Buffer, method: string): undefined {
    const { told, members } = this.#crew;
    switch (method) {
      case "notifications/initialized":
        told.isInitialized = true;
        for (const member of members) if (member.isOpen) member.tell(message);
        return this.#tellNews();
      case "notifications/cancelled": {
        const flight = this.#flights.get(idOf(message, ["params", "requestId"]) ?? "");
        if (flight === undefined) return;
        this.#flights.delete(flight.id);
        flight.takeBack(message);
        return;
      }
      case "notifications/progress": {
        const token = locate(message, ["params", "progressToken"]);
        const origin = inwardId(idOf(message, ["params", "progressToken"]) ?? "");
        const member = origin && members[origin.index];
        if (token === undefined || member?.generation !== origin?.generation) return;
        member?.tell(splice(message, [{ ...token, text: origin?.text ?? "" }]));
        return;
      }
      default:
        for (const member of members) if (member.isOpen) member.tell(message);
        return;
    }
  }

  /** The client answers a request of a member. */
  #respond(message: Buffer, { id }: Envelope): Promise<void> | undefined {
    const origin = inwardId(id as string);
    const member = origin && this.#crew.members[origin.index];
    if (member === undefined || member.generation !== origin?.generation || !member.takeAsked(origin.text))
      return;
    return member.give(withId(message, origin.text));
  }

  #hearAnswer(member: Member, message: Buffer, { id, failed }: Envelope): void {
    const listening = this.#listens.get(id as string);
    if (listening !== undefined) return listening.answered(member, message, failed);
    const flight = this.#flights.get(id as string);
    // Nobody may answer what another was asked.
    if (flight?.member !== member || !flight.isGiven) return;
    const taskId = flight.makesTask ? stringAt(message, ["result", "task", "taskId"]) : undefined;
    if (taskId !== undefined) this.#crew.owners.learnTask(taskId, member.name);
    this.#settle(flight, message);
  }

  #hearRequest(member: Member, message: Buffer, envelope: Envelope): void {
    const outward = outwardRequest(message, envelope, member);
    if (outward === undefined) {
      return member.tell(
        errorMessage(envelope.id as string, INVALID_REQUEST, "The id or the token is too long"),
      );
    }
    member.asks(envelope.id as string);
    this.#crew.emit(outward);
  }

  #hearNotification(member: Member, message: Buffer, method: string): void {
    const { emit } = this.#crew;
    for (const listening of this.#listens.values()) if (listening.take(member, message, method)) return;
    if (method === "notifications/message") return emit(outwardLog(message, member.name));
    if (method !== "notifications/cancelled") return emit(message);
    const id = idOf(message, ["params", "requestId"]);
    const outward = id === undefined ? undefined : outwardId(member, id);
    if (outward === undefined) return;
    member.takeAsked(id as string);
    emit(splice(message, [{ ...(locate(message, ["params", "requestId"]) as Span), text: outward }]));
  }

  #tellNews(): undefined {
    for (const list of this.#news) {
      this.#crew.emit(Buffer.from(`{"jsonrpc":"2.0","method":"notifications/${list}/list_changed"}`));
    }
    this.#news.clear();
  }
}
