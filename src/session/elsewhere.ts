import { FAULTS, GatewayError, type Reason } from "../errors.ts";
import type { Events } from "../events.ts";
import type { Log } from "../log.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import type { Peer, Relay, RelaySlot } from "../relay/relay.ts";
import type { Lease, SessionRecord } from "../session-store/session-store.ts";
import type { Carrier } from "./carrier.ts";
import type { Claims } from "./claims.ts";
import type { Reception } from "./reception.ts";
import type { Reply } from "./session-parts.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { Place, Whereabouts } from "./whereabouts.ts";

/** What a message for a session that is not here must fit. */
interface Expected {
  transport: SessionRecord["transport"];
  /** Undefined: any. */
  server?: string;
  /** The client's address, for who asks for another caller's. */
  address?: string;
}

export interface ElsewhereParts {
  events: Events;
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

/** What became of a message for a session of another instance. */
type Verdict = "delivered" | "gone" | "draining" | "dead";

/** Sessions that are not here: carries messages to them, and takes them over when they have no owner. */
export class Elsewhere {
  readonly #parts: ElsewhereParts;

  constructor(parts: ElsewhereParts) {
    this.#parts = parts;
  }

  /**
   * Whether a message for a session that is not here may come. Rejects with `session_not_found`, also for a session of
   * another caller, transport or server, or with `session_elsewhere` when it lives on another instance and the relay is off.
   */
  async expect(
    id: string,
    caller: string | undefined,
    { transport, server, address = "" }: Expected = { transport: "sse" },
  ): Promise<void> {
    const { whereabouts, claims } = this.#parts;
    const relay = this.#parts.relay.current;
    const place = await whereabouts.find(id);
    if (place === undefined && claims.isUncertain(id, caller)) throw new GatewayError("store_unavailable");
    const come = place === undefined ? await this.#justCome(id) : undefined;
    const isRight = come?.transport === transport && come.server === (server ?? come.server);
    if (isRight && come.caller === (caller ?? come.caller)) return;
    if (place === undefined) throw new GatewayError("session_not_found");
    const { record } = place;
    if (caller !== undefined && caller !== record.caller) {
      this.#parts.events.emit({ type: "session_foreign", session: id, caller, address });
      throw new GatewayError("session_not_found");
    }
    if (record.transport !== transport || record.server !== (server ?? record.server))
      throw new GatewayError("session_not_found");
    if (place.owner?.state === "serving" && relay === undefined) throw new GatewayError("session_elsewhere");
  }

  /**
   * Gives a message to a session that is not here, or not here any more. Resolves when its server was given it. Rejects
   * with the fault that kept it from being given, or with `delivery_unknown`. `caller` is undefined when the session's
   * token was shown in place of a key.
   */
  async deliver(
    id: string,
    caller: string | undefined,
    message: Buffer,
    envelope: Envelope,
    reply?: Reply,
  ): Promise<void> {
    const { whereabouts, sessions, claims, reception, now } = this.#parts;
    const giveUpAt = now() + HAND_OVER_MS;
    let goneFrom: string | undefined;
    for (;;) {
      const here = sessions.find(id);
      if (here !== undefined && !here.isLeaving)
        return reception.give(here, caller, message, envelope, reply);
      const place = await this.#find(id, envelope);
      if (place === undefined && claims.isUncertain(id, caller)) throw new GatewayError("store_unavailable");
      if (place === undefined && here === undefined && (await this.#justCome(id)) !== undefined) continue;
      if (place === undefined || (caller !== undefined && caller !== place.record.caller)) {
        if (here === undefined || here.caller !== (caller ?? here.caller))
          throw new GatewayError("session_not_found");
      } else {
        const { record, owner } = place;
        const verdict =
          owner === undefined ? "dead" : await this.#post(record, owner, caller, message, reply);
        if (verdict === "delivered") return;
        // Twice at one owner: the record is wrong about it, not we about the record.
        const key = `${record.owner} ${record.epoch}`;
        if (verdict === "gone" && goneFrom === key) throw new GatewayError("session_not_found");
        if (verdict === "gone") goneFrom = key;
        if (verdict === "dead") {
          const claimed = await this.#claim(record);
          if (claimed !== undefined) return reception.give(claimed, caller, message, envelope, reply);
          if (!sessions.serves(record)) throw new GatewayError("session_not_found");
        }
      }
      whereabouts.forget(id);
      if (now() > giveUpAt) throw new GatewayError("draining");
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }

  /** Ends a session that is not here, for good. Rejects as `expect` does, or when its owner cannot be told. */
  async end(id: string, caller: string): Promise<void> {
    const { whereabouts, sessions } = this.#parts;
    await this.expect(id, caller, { transport: "streamable" });
    const place = await whereabouts.find(id);
    if (place === undefined) return sessions.find(id)?.close("deleted");
    const relay = this.#parts.relay.current;
    const { record, owner } = place;
    whereabouts.forget(id);
    if (owner === undefined) {
      const claimed = await this.#claim(record);
      if (claimed !== undefined) return claimed.close("deleted");
    } else if (relay !== undefined && owner.relay !== undefined) {
      const peer: Peer = { instanceId: owner.id, address: owner.relay };
      const head = { session: id, caller };
      const { kind } = await relay.send(peer, { kind: "close", head, bodies: [] }, POST_MS);
      if (kind === "answered") return;
      throw new GatewayError(kind === "unknown" ? "delivery_unknown" : "owner_unreachable");
    }
    const here = sessions.find(id);
    if (here?.caller === caller) here.close("deleted");
    else throw new GatewayError("draining");
  }

  /** The session, if this instance has claimed it just now: its record is ours before the session is here. */
  async #justCome(id: string): Promise<Session | undefined> {
    await this.#parts.claims.settledOf(id);
    return this.#parts.sessions.find(id);
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
    reply: Reply | undefined,
  ): Promise<Verdict> {
    const { carrier } = this.#parts;
    const relay = this.#parts.relay.current;
    if (relay === undefined) {
      if (owner.state === "draining") return "draining";
      throw new GatewayError("session_elsewhere");
    }
    if (owner.relay === undefined) throw new GatewayError("owner_unreachable");
    const peer: Peer = { instanceId: owner.id, address: owner.relay };
    const head = { session: record.id, ...(caller === undefined ? {} : { caller }) };
    if (reply === undefined) return this.#send(record, owner, peer, head, message);
    const stream = carrier.hold(reply.stream, record.id, peer);
    let verdict: Verdict | undefined;
    try {
      const lane = { lane: reply.lane, stream, address: relay.address };
      return (verdict = await this.#send(record, owner, peer, { ...head, ...lane }, message));
    } finally {
      if (verdict === "delivered") carrier.given(stream);
      else carrier.release(stream);
    }
  }

  async #send(
    record: SessionRecord,
    owner: Lease,
    peer: Peer,
    head: Record<string, unknown>,
    message: Buffer,
  ): Promise<Verdict> {
    const { startMs, whereabouts, now } = this.#parts;
    const relay = this.#parts.relay.current as Relay;
    // The first message waits for its server to be started.
    const deadlineMs = record.initialize === undefined ? POST_MS + startMs : POST_MS;
    const sentAt = now();
    const post = { kind: "post", head, bodies: [message] };
    const outcome = await relay.send(peer, post, deadlineMs, () => whereabouts.hasEnded(owner.id));
    switch (outcome.kind) {
      case "dead":
        // Who drains has closed its door already, and lets go of its sessions in a moment.
        return owner.state === "draining" ? "draining" : this.#judgeDead(record);
      case "unreachable":
        if (!(await whereabouts.isServing(owner.id))) return "draining";
        throw new GatewayError("owner_unreachable");
      case "unknown":
        // Who goes down in order answers what it has taken before it lets go of connections: this was not taken.
        if (outcome.wasTaken === true) throw new GatewayError("delivery_unknown");
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
}
