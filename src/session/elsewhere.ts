import { FAULTS, GatewayError, type Reason } from "../errors.ts";
import type { Log } from "../log.ts";
import { scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import type { Peer, RelaySlot, RelayAnswer, RelayMessage } from "../relay/relay.ts";
import type { Lease, SessionRecord } from "../session-store/session-store.ts";
import { CarriedStream } from "./carried-stream.ts";
import type { Carrier } from "./carrier.ts";
import type { Claims } from "./claims.ts";
import type { Reception } from "./reception.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { Place, Whereabouts } from "./whereabouts.ts";

export interface ElsewhereParts {
  instanceId: string;
  sessions: Sessions;
  whereabouts: Whereabouts;
  claims: Claims;
  relay: RelaySlot;
  carrier: Carrier;
  reception: Reception;
  /** How long a server may take to be started, in ms. */
  startMs: number;
  log: Log;
  /** Monotonic time in ms. */
  now: () => number;
}

/** How long a message may be on its way to the instance that holds its session, in ms. */
const POST_MS = 5000;
/** How long a message waits for a session that is being handed over. */
const HAND_OVER_MS = 15_000;
const LOOK_AGAIN_MS = 100;

/** Sessions that are not here: carries messages to them, takes them over when they have no owner, and answers for ours. */
export class Elsewhere {
  readonly #parts: ElsewhereParts;
  readonly #carried = new Set<CarriedStream>();
  #askAt = 0;

  constructor(parts: ElsewhereParts) {
    this.#parts = parts;
  }

  /**
   * Whether a message for a session that is not here may come. Rejects with `session_not_found`, also for a session of
   * another caller, or with `session_elsewhere` when it lives on another instance and the relay is off.
   */
  async expect(id: string, caller: string | undefined): Promise<void> {
    const { whereabouts, claims } = this.#parts;
    const relay = this.#parts.relay.current;
    const place = await whereabouts.find(id);
    if (place === undefined && claims.isUncertain(id, caller)) throw new GatewayError("store_unavailable");
    if (place === undefined || (caller !== undefined && caller !== place.record.caller)) {
      throw new GatewayError("session_not_found");
    }
    if (place.owner?.state === "serving" && relay === undefined) throw new GatewayError("session_elsewhere");
  }

  /**
   * Gives a message to a session that is not here, or not here any more. Resolves when its server was given it. Rejects
   * with the fault that kept it from being given, or with `delivery_unknown`. `caller` is undefined when the session's
   * token was shown in place of a key.
   */
  async deliver(id: string, caller: string | undefined, message: Buffer, envelope: Envelope): Promise<void> {
    const { whereabouts, sessions, claims, now } = this.#parts;
    const giveUpAt = now() + HAND_OVER_MS;
    let goneFrom: string | undefined;
    for (;;) {
      const here = sessions.find(id);
      if (here !== undefined && !here.isLeaving) return this.#give(here, caller, message, envelope);
      const place = await this.#find(id, envelope);
      if (place === undefined && claims.isUncertain(id, caller)) throw new GatewayError("store_unavailable");
      if (place === undefined || (caller !== undefined && caller !== place.record.caller)) {
        if (here === undefined || here.caller !== (caller ?? here.caller))
          throw new GatewayError("session_not_found");
      } else {
        const { record, owner } = place;
        const verdict = owner === undefined ? "dead" : await this.#post(record, owner, caller, message);
        if (verdict === "delivered") return;
        // Twice at one owner: the record is wrong about it, not we about the record.
        const key = `${record.owner} ${record.epoch}`;
        if (verdict === "gone" && goneFrom === key) throw new GatewayError("session_not_found");
        if (verdict === "gone") goneFrom = key;
        if (verdict === "dead") {
          const claimed = await this.#claim(record);
          if (claimed !== undefined) return this.#give(claimed, caller, message, envelope);
        }
      }
      whereabouts.forget(id);
      if (now() > giveUpAt) throw new GatewayError("draining");
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }

  /** Carries out what another instance asks. Never rejects. */
  async receive(from: string, message: RelayMessage): Promise<RelayAnswer> {
    try {
      const { sessions, carrier, reception } = this.#parts;
      if (sessions.mustVerify) await sessions.verify();
      switch (message.kind) {
        case "hello":
          return this.#receiveHello(from, message);
        case "post":
          return await this.#receivePost(message);
        case "seek":
          return await reception.seek(String(message.head["client"]));
        case "attach":
          return this.#receiveAttach(from, message);
        case "detach":
          this.#receiveDetach(from, message);
          return { delivery: "delivered" };
        case "events":
          return await carrier.receive(from, message);
        default:
          return { delivery: "refused", reason: "bad_request" };
      }
    } catch (error) {
      if (!(error instanceof GatewayError)) this.#parts.log.error({ err: error }, "relayed message failed");
      return answerTo(error);
    }
  }

  /** Asks after the instances that carry our streams now and then: who dies with a stream cannot say so. */
  beat(now: number): void {
    const relay = this.#parts.relay.current;
    if (relay === undefined || now < this.#askAt) return;
    this.#askAt = now + 30_000;
    const peers = new Map([...this.#carried].map(({ peer }) => [peer.instanceId, peer]));
    for (const peer of peers.values()) {
      void relay.send(peer, { kind: "hello", head: {}, bodies: [] }, POST_MS).then(({ kind }) => {
        if (kind !== "dead") return;
        for (const stream of this.#carried) if (stream.peer.instanceId === peer.instanceId) stream.close();
      });
    }
  }

  async #give(
    session: Session,
    caller: string | undefined,
    message: Buffer,
    envelope: Envelope,
  ): Promise<void> {
    if (caller !== undefined && caller !== session.caller) throw new GatewayError("session_not_found");
    const right = await this.#parts.reception.judgeFirst(session, message, envelope);
    await right.deliver(message, envelope);
  }

  /** A record that was read before its client was initialized says less than it could. */
  async #find(id: string, { method }: Envelope): Promise<Place | undefined> {
    const { whereabouts } = this.#parts;
    const place = await whereabouts.find(id);
    if (place?.owner === undefined || place.record.initialize !== undefined || method === "initialize")
      return place;
    whereabouts.forget(id);
    return whereabouts.find(id);
  }

  async #claim(record: SessionRecord): Promise<Session | undefined> {
    const { sessions, claims } = this.#parts;
    return sessions.isDraining ? undefined : claims.claim(record);
  }

  async #post(
    record: SessionRecord,
    owner: Lease,
    caller: string | undefined,
    message: Buffer,
  ): Promise<"delivered" | "gone" | "draining" | "dead"> {
    const { startMs, whereabouts, now } = this.#parts;
    const relay = this.#parts.relay.current;
    if (relay === undefined) {
      if (owner.state === "draining") return "draining";
      throw new GatewayError("session_elsewhere");
    }
    if (owner.relay === undefined) throw new GatewayError("owner_unreachable");
    // The first message waits for its server to be started.
    const deadlineMs = record.initialize === undefined ? POST_MS + startMs : POST_MS;
    const peer: Peer = { instanceId: owner.id, address: owner.relay };
    const head = { session: record.id, ...(caller === undefined ? {} : { caller }) };
    const sentAt = now();
    const outcome = await relay.send(peer, { kind: "post", head, bodies: [message] }, deadlineMs);
    switch (outcome.kind) {
      case "dead":
        // Who drains has closed its door already, and lets go of its sessions in a moment.
        return owner.state === "draining" ? "draining" : this.#judgeDead(record);
      case "unreachable":
        if (!(await whereabouts.isServing(owner.id))) return "draining";
        throw new GatewayError("owner_unreachable");
      case "unknown":
        // Who goes down in order answers what it has taken before it lets go of connections: this was not taken.
        if (now() - sentAt < POST_MS / 2 && !(await whereabouts.isServing(owner.id))) return "draining";
        throw new GatewayError("delivery_unknown");
      case "answered": {
        const { delivery, reason } = outcome.answer;
        if (delivery === "delivered" || delivery === "gone" || delivery === "draining") return delivery;
        throw new GatewayError(
          typeof reason === "string" && reason in FAULTS ? (reason as Reason) : "internal",
        );
      }
    }
  }

  /** The lease that was looked at may be seconds old: an instance that drains is not dead. */
  async #judgeDead(record: SessionRecord): Promise<"dead" | "draining"> {
    const { whereabouts } = this.#parts;
    whereabouts.forget(record.id);
    const place = await whereabouts.find(record.id);
    return place?.record.epoch === record.epoch && place.owner?.state !== "draining" ? "dead" : "draining";
  }

  /** Tells which of the streams that the other carries are not ours any more, and which of its own are not here. */
  #receiveHello(from: string, { head }: RelayMessage): RelayAnswer {
    const ours = new Set<unknown>();
    for (const { peer, streamId } of this.#carried) if (peer.instanceId === from) ours.add(streamId);
    const streams = Array.isArray(head["streams"]) ? (head["streams"] as unknown[]) : [];
    const held = Array.isArray(head["held"]) ? (head["held"] as unknown[]) : [];
    const lost = this.#parts.carrier.lost(from, held);
    return { delivery: "delivered", gone: streams.filter((id) => !ours.has(id)), lost };
  }

  async #receivePost({ head, bodies }: RelayMessage): Promise<RelayAnswer> {
    const [message] = bodies;
    const session = this.#parts.sessions.find(String(head["session"]));
    if (session === undefined || message === undefined) return { delivery: "gone" };
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return { delivery: "refused", reason: envelope };
    await this.#give(session, head["caller"] as string | undefined, message, envelope);
    return { delivery: "delivered" };
  }

  #receiveAttach(from: string, { head }: RelayMessage): RelayAnswer {
    const { sessions } = this.#parts;
    const relay = this.#parts.relay.current;
    const session = sessions.find(String(head["session"]));
    if (relay === undefined || session?.caller !== head["caller"] || session?.isOpen !== true)
      return { delivery: "gone" };
    if (session.isLeaving) return { delivery: "draining" };
    const stream = new CarriedStream({
      relay,
      peer: { instanceId: from, address: String(head["address"]) },
      streamId: String(head["stream"]),
      onGone: (gone) => this.#carried.delete(gone),
    });
    this.#carried.add(stream);
    session.attach(stream, head["after"] as number | undefined);
    return { delivery: "delivered" };
  }

  #receiveDetach(from: string, { head }: RelayMessage): void {
    for (const stream of this.#carried) {
      if (stream.peer.instanceId === from && stream.streamId === head["stream"]) stream.close();
    }
  }
}

function answerTo(error: unknown): RelayAnswer {
  const reason: Reason = error instanceof GatewayError ? error.reason : "internal";
  if (reason === "session_not_found") return { delivery: "gone" };
  return reason === "draining" ? { delivery: "draining" } : { delivery: "refused", reason };
}
