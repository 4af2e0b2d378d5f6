/**
 * Things that happen now and then and that somebody may want to count, to record or to be told of. None of them holds a
 * key, a token or a message. `caller` is the name that an API key has, `key` the id of that key, `address` the client's.
 */
export type GatewayEvent =
  | ({ type: "session_opened"; server: string; transport: string; address: string } & SessionNamed)
  /** A client came back to a session that had waited for it: here, or at another instance whose stream is carried. */
  | ({ type: "session_adopted"; where: "same_instance" | "other_instance"; address: string } & SessionNamed)
  /** A session of a dead instance, or one that was handed over, goes on here. */
  | ({ type: "session_claimed"; epoch: number } & SessionNamed)
  /** A session was left in the store for the next instance. */
  | ({ type: "session_handed_over" } & SessionNamed)
  /** `end` is why, as `SessionEnd` says it; `seconds` how long it was open here. */
  | ({ type: "session_closed"; server: string; end: string; seconds: number } & SessionNamed)
  /** A request was refused for its credential; `reason` as in `FAULTS`. */
  | { type: "credential_refused"; reason: string; shown: Shown; address: string }
  /** Somebody asked for a session of another caller. `caller` is who asked. */
  | { type: "session_foreign"; session: string; caller: string; address: string }
  /** A limit kept a session from being opened; `reason` as in `FAULTS`. */
  | { type: "session_refused"; caller: string; reason: string; address: string }
  | { type: "key_added" | "key_removed" | "key_changed" | "key_expired"; caller: string; key: string }
  /** Somebody used the command line, a signal, or a file that is watched. */
  | { type: "operator_action"; action: string; target: string; outcome: "done" | "failed" }
  | { type: "stream_opened"; transport: string }
  | {
      type: "stream_closed";
      transport: string;
      end: StreamEnd;
    }
  | { type: "server_restarted"; server: string; why: string }
  /** A server has failed too often and is left alone, or is used again. */
  | { type: "server_circuit"; server: string; state: "open" | "half-open" | "closed" }
  | { type: "relay"; direction: "sent" | "received"; outcome: string; seconds?: number }
  /** The session store serves no more, or serves again. `kind` as `FailureKind`. */
  | { type: "store_down" | "store_up"; store: string; kind: string };

interface SessionNamed {
  session: string;
  caller: string;
  key?: string | undefined;
}

/** Why a stream ended: its client went, or the gateway ended it. */
export type StreamEnd = "client" | "rotated" | "drain" | "slow_reader" | "session_over";

/** Where a request showed its credential. */
export type Shown = "bearer" | "x_api_key" | "query" | "session_token" | "none";

/** Who is told of events. Never throws and never waits. */
export interface Events {
  emit(event: GatewayEvent): void;
}

/** Tells nobody. */
export const NO_EVENTS: Events = { emit: () => undefined };

/** Tells several, in order. One that throws keeps nothing from the others. */
export function tellAll(listeners: readonly Events[]): Events {
  return {
    emit(event) {
      for (const listener of listeners) {
        try {
          listener.emit(event);
        } catch {
          // Who watches must not change what happens.
        }
      }
    },
  };
}

/** A request of a client that is about to be given to its server. */
export interface CallBegin {
  /** Name of the MCP server. */
  server: string;
  method: string;
  /** The request, on one line. Not to be kept after `begin` has returned. */
  message: Buffer;
  /** The request's id, as JSON text. */
  id: string;
  session: string | undefined;
  transport: "sse" | "streamable" | "stateless";
}

/** What became of a call. */
export interface CallEnd {
  /** The server's response as it came, not to be kept. Undefined when the gateway answered, or nobody did. */
  answer?: Buffer | undefined;
  /** Whether the answer is a JSON-RPC error. */
  failed: boolean;
  /** The gateway's own fault, as in `FAULTS`, or `cancelled` when the client took the request back. */
  reason?: string | undefined;
}

/** A call that somebody watches. */
export interface CallInFlight {
  /** What the server is to be given: the same bytes, unless a trace context is put into them. */
  readonly message: Buffer;
  /** Called once, with the outcome. */
  end(outcome: CallEnd): void;
}

/**
 * Watches the requests of clients, from when the server is about to be given one to its outcome. This is on the hot
 * path: it must not throw, wait, parse a whole message, or keep anything after the end.
 */
export interface Calls {
  begin(call: CallBegin): CallInFlight | undefined;
}
