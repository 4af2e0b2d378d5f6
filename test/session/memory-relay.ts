import type {
  Peer,
  Relay,
  RelayAnswer,
  RelayEvents,
  RelayMessage,
  RelayOutcome,
} from "../../src/relay/relay.ts";

/** What happens to one message: it does not arrive, or it does and nobody hears of it, or only that it did. */
export type Mishap = "dead" | "unreachable" | "unknown" | "unheard" | "taken";

export interface Sent extends RelayMessage {
  from: string;
  to: string;
}

/** The ways between instances of a test, in this process. */
export class MemoryNetwork {
  /** Everything that was sent, whatever became of it. */
  readonly sent: Sent[] = [];
  /** Says what happens to a message instead of its arrival. */
  mishap: (sent: Sent) => Mishap | undefined = () => undefined;
  readonly #there = new Map<string, RelayEvents["onMessage"]>();

  /** How many messages of a kind were sent. */
  count(kind: string): number {
    return this.sent.filter((sent) => sent.kind === kind).length;
  }

  relayOf(instanceId: string, onMessage: RelayEvents["onMessage"]): Relay {
    this.#there.set(instanceId, onMessage);
    return {
      kind: "http",
      address: `memory:${instanceId}`,
      helloMs: 1000,
      send: (to, message) => this.#send(instanceId, to, message),
      close: async () => void this.#there.delete(instanceId),
    };
  }

  /** The instance is gone, without a word. */
  kill(instanceId: string): void {
    this.#there.delete(instanceId);
  }

  async #send(from: string, to: Peer, { kind, head, bodies }: RelayMessage): Promise<RelayOutcome> {
    // Nothing that one side keeps may be the other side's.
    const message: RelayMessage = {
      kind,
      head: JSON.parse(JSON.stringify(head)) as RelayMessage["head"],
      bodies: bodies.map((body) => Buffer.from(body)),
    };
    const sent = { ...message, from, to: to.instanceId };
    this.sent.push(sent);
    await new Promise(setImmediate);
    const mishap = this.mishap(sent);
    if (mishap === "taken") return { kind: "unknown", wasTaken: true };
    if (mishap !== undefined && mishap !== "unheard") return { kind: mishap };
    const onMessage = this.#there.get(to.instanceId);
    if (onMessage === undefined || to.address !== `memory:${to.instanceId}`) return { kind: "dead" };
    const answer = await onMessage(from, message);
    if (mishap === "unheard") return { kind: "unknown" };
    return { kind: "answered", answer: JSON.parse(JSON.stringify(answer)) as RelayAnswer };
  }
}
