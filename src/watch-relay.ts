import type { Events } from "./events.ts";
import type { Relay, RelayAnswer, RelayMessage } from "./relay/relay.ts";

/** The relay, which tells of every message that it sends and what became of it. */
export function watchRelay(relay: Relay, events: Events): Relay {
  return {
    kind: relay.kind,
    address: relay.address,
    helloMs: relay.helloMs,
    async send(to, message, deadlineMs, isGone) {
      const startedAt = performance.now();
      const outcome = await relay.send(to, message, deadlineMs, isGone);
      const seconds = (performance.now() - startedAt) / 1000;
      events.emit({ type: "relay", direction: "sent", outcome: outcome.kind, seconds });
      return outcome;
    },
    close: () => relay.close(),
  };
}

/** What another instance sends, told with what was answered. */
export function hear(
  events: Events,
  receive: (from: string, message: RelayMessage) => Promise<RelayAnswer>,
): (from: string, message: RelayMessage) => Promise<RelayAnswer> {
  return async (from, message) => {
    const answer = await receive(from, message);
    const { delivery } = answer;
    events.emit({
      type: "relay",
      direction: "received",
      outcome: typeof delivery === "string" ? delivery : "answered",
    });
    return answer;
  };
}
