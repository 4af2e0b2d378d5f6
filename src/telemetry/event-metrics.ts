import { Counter, Histogram, type Registry } from "prom-client";
import type { Events } from "../events.ts";
import { OPERATION_BUCKETS } from "./durations.ts";
import { Words } from "./names.ts";

/** Words of our own that one label may have: there are fewer, and a mistake must not cost the memory. */
const MAX_WORDS = 64;

/** Sessions live longer than operations: the conventions' bounds, and 15 minutes, an hour, four, and a day. */
const SESSION_BUCKETS = [...OPERATION_BUCKETS, 900, 3600, 14_400, 86_400];
const RELAY_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];

/** Ends that nobody needs to mend. */
const GOOD_ENDS = new Set([
  "client_gone",
  "deleted",
  "server_changed",
  "idle",
  "no_first_message",
  "made_room",
  "released",
  "draining",
]);

/** Values that are known beforehand stand at 0 from the start, so that the first of them is seen as a change. */
const STREAM_ENDS = ["client", "rotated", "drain", "slow_reader", "error"];
const ADOPTIONS = ["same_instance", "other_instance", "claimed"];
const KEY_CHANGES = ["added", "removed", "changed", "expired"];
const TRANSPORTS = ["sse", "streamable"];

/** Counts what happens now and then. */
export function createEventMetrics(registry: Registry): Events {
  const counter = <T extends string = never>(name: string, help: string, ...labelNames: T[]) =>
    new Counter({ name, help, labelNames, registers: [registry] });
  const histogram = <T extends string = never>(
    name: string,
    help: string,
    buckets: number[],
    ...labelNames: T[]
  ) => new Histogram({ name, help, buckets, labelNames, registers: [registry] });

  const opened = counter("mcp_gateway_sessions_opened_total", "Sessions opened.", "transport");
  const closed = counter("mcp_gateway_sessions_closed_total", "Sessions closed, by why.", "reason");
  const refused = counter("mcp_gateway_sessions_refused_total", "Sessions that a limit refused.", "reason");
  const lived = histogram(
    "mcp_server_session_duration_seconds",
    "How long sessions were open on this instance. error_type is why, of those that a failure ended.",
    SESSION_BUCKETS,
    "error_type",
  );
  const adopted = counter(
    "mcp_gateway_session_adoptions_total",
    "Sessions whose clients came back, or that were taken over from another instance.",
    "result",
  );
  const handedOver = counter(
    "mcp_gateway_sessions_handed_over_total",
    "Sessions left in the store for the next instance.",
  );
  const foreign = counter("mcp_gateway_sessions_foreign_total", "Requests for a session of another caller.");
  const auth = counter(
    "mcp_gateway_auth_total",
    "Requests refused for their credential, by where it was shown and why.",
    "method",
    "result",
  );
  const keys = counter("mcp_gateway_key_changes_total", "Changes of API keys.", "change");
  const streams = counter("mcp_gateway_sse_streams_opened_total", "Streams opened.", "transport");
  const streamsClosed = counter(
    "mcp_gateway_sse_streams_closed_total",
    "Streams closed, by why. slow_reader: the client did not read.",
    "reason",
  );
  const restarts = counter(
    "mcp_gateway_upstream_restarts_total",
    "Server processes started again.",
    "upstream",
    "reason",
  );
  const tripped = counter(
    "mcp_gateway_upstream_circuit_opened_total",
    "How often a server was left alone because it failed again and again.",
    "upstream",
  );
  const relayed = counter(
    "mcp_gateway_relay_messages_total",
    "Messages between instances.",
    "direction",
    "outcome",
  );
  const relayTook = histogram(
    "mcp_gateway_relay_latency_seconds",
    "How long a message to another instance took to be answered.",
    RELAY_BUCKETS,
  );
  const outages = counter("mcp_gateway_store_outages_total", "Outages of the session store.", "kind");

  for (const transport of TRANSPORTS) opened.inc({ transport }, 0);
  for (const transport of TRANSPORTS) streams.inc({ transport }, 0);
  for (const reason of STREAM_ENDS) streamsClosed.inc({ reason }, 0);
  for (const result of ADOPTIONS) adopted.inc({ result }, 0);
  for (const change of KEY_CHANGES) keys.inc({ change }, 0);

  const words = {
    end: new Words(MAX_WORDS),
    reason: new Words(MAX_WORDS),
    credential: new Words(MAX_WORDS),
    transport: new Words(MAX_WORDS),
    why: new Words(MAX_WORDS),
    outcome: new Words(MAX_WORDS),
    kind: new Words(MAX_WORDS),
  };

  return {
    emit(event) {
      switch (event.type) {
        case "session_opened":
          return opened.inc({ transport: words.transport.admit(event.transport) });
        case "session_closed": {
          const reason = words.end.admit(event.end);
          closed.inc({ reason });
          return lived.observe(GOOD_ENDS.has(event.end) ? {} : { error_type: reason }, event.seconds);
        }
        case "session_refused":
          return refused.inc({ reason: words.reason.admit(event.reason) });
        case "session_adopted":
          return adopted.inc({ result: event.where });
        case "session_claimed":
          return adopted.inc({ result: "claimed" });
        case "session_handed_over":
          return handedOver.inc();
        case "session_foreign":
          return foreign.inc();
        case "credential_refused":
          return auth.inc({ method: event.shown, result: words.credential.admit(event.reason) });
        case "key_added":
        case "key_removed":
        case "key_changed":
        case "key_expired":
          return keys.inc({ change: event.type.slice("key_".length) });
        case "stream_opened":
          return streams.inc({ transport: words.transport.admit(event.transport) });
        case "stream_closed":
          return streamsClosed.inc({ reason: event.end });
        case "server_restarted":
          return restarts.inc({ upstream: event.server, reason: words.why.admit(event.why) });
        case "server_circuit":
          return event.state === "open" ? tripped.inc({ upstream: event.server }) : undefined;
        case "relay":
          relayed.inc({ direction: event.direction, outcome: words.outcome.admit(event.outcome) });
          return event.seconds === undefined ? undefined : relayTook.observe(event.seconds);
        case "store_down":
          return outages.inc({ kind: words.kind.admit(event.kind) });
        case "store_up":
        case "operator_action":
          return undefined;
      }
    },
  };
}
