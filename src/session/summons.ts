import { GatewayError, type Reason } from "../errors.ts";
import type { Log } from "../log.ts";
import { scanMessage } from "../protocol/json-rpc.ts";
import type { Relay, RelayAnswer, RelayMessage, RelaySlot } from "../relay/relay.ts";
import { CarriedStream } from "./carried-stream.ts";
import type { Carrier } from "./carrier.ts";
import type { Reception } from "./reception.ts";
import type { Sessions } from "./sessions.ts";

export interface SummonsParts {
  sessions: Sessions;
  relay: RelaySlot;
  carrier: Carrier;
  reception: Reception;
  log: Log;
}

/** How long an instance that carries our streams may take to say that it lives, in ms. */
const HELLO_MS = 5000;

/** What other instances ask of this one: messages for its sessions, streams that they carry for it, news of both. */
export class Summons {
  readonly #parts: SummonsParts;
  readonly #carried = new Set<CarriedStream>();
  #askAt = 0;

  constructor(parts: SummonsParts) {
    this.#parts = parts;
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
          return await this.#receivePost(from, message);
        case "seek":
          return await reception.seek(String(message.head["client"]));
        case "attach":
          return this.#receiveAttach(from, message);
        case "close":
          return this.#receiveClose(message);
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
      void relay.send(peer, { kind: "hello", head: {}, bodies: [] }, HELLO_MS).then(({ kind }) => {
        if (kind !== "dead") return;
        for (const stream of this.#carried) if (stream.peer.instanceId === peer.instanceId) stream.close();
      });
    }
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

  async #receivePost(from: string, { head, bodies }: RelayMessage): Promise<RelayAnswer> {
    const [message] = bodies;
    const session = this.#parts.sessions.find(String(head["session"]));
    if (session === undefined || message === undefined) return { delivery: "gone" };
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return { delivery: "refused", reason: envelope };
    const caller = head["caller"] as string | undefined;
    if (typeof head["lane"] !== "string") {
      await this.#parts.reception.give(session, caller, message, envelope);
      return { delivery: "delivered" };
    }
    const stream = this.#carry(from, head);
    try {
      await this.#parts.reception.give(session, caller, message, envelope, { lane: head["lane"], stream });
    } catch (error) {
      stream.close();
      throw error;
    }
    return { delivery: "delivered" };
  }

  #receiveAttach(from: string, { head }: RelayMessage): RelayAnswer {
    const { sessions } = this.#parts;
    const session = sessions.find(String(head["session"]));
    if (session?.caller !== head["caller"] || session?.isOpen !== true) return { delivery: "gone" };
    if (session.isLeaving) return { delivery: "draining" };
    if (typeof head["key"] === "string") sessions.showKey(session, head["key"]);
    const stream = this.#carry(from, head);
    const after = head["after"] as number | undefined;
    const lane = head["lane"];
    if (typeof lane !== "string") session.attach(stream, after);
    else session.resumeLane(lane, stream, after ?? 0);
    return { delivery: "delivered" };
  }

  #receiveClose({ head }: RelayMessage): RelayAnswer {
    const session = this.#parts.sessions.find(String(head["session"]));
    if (session !== undefined && session.caller === head["caller"]) session.close("deleted");
    return { delivery: "delivered" };
  }

  #carry(from: string, head: RelayMessage["head"]): CarriedStream {
    const stream = new CarriedStream({
      relay: this.#parts.relay.current as Relay,
      peer: { instanceId: from, address: String(head["address"]) },
      streamId: String(head["stream"]),
      onGone: (gone) => this.#carried.delete(gone),
    });
    this.#carried.add(stream);
    return stream;
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
