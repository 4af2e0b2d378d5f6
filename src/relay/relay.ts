/** What one instance asks of another. */
export interface RelayMessage {
  /** What is asked. The words are the session room's; the relay does not know them. */
  readonly kind: string;
  /** What must be known to do it: small, JSON. */
  readonly head: Readonly<Record<string, unknown>>;
  /** JSON-RPC messages that go with it, each one line of valid UTF-8, carried as they are. */
  readonly bodies: readonly Buffer[];
}

/** What the other instance says to it: small, JSON. */
export type RelayAnswer = Readonly<Record<string, unknown>>;

/**
 * What became of a message. `dead`: there is evidence that nobody is there (the connection was refused, the channel has
 * no listener), and `unreachable`: it did not get there; both mean that it was not carried out and never will be.
 * `unknown`: it may have been carried out, but it will not be once the deadline is past; with `wasTaken` the other
 * instance has begun to.
 */
export type RelayOutcome =
  | { readonly kind: "answered"; readonly answer: RelayAnswer }
  | { readonly kind: "dead" | "unreachable" }
  | { readonly kind: "unknown"; readonly wasTaken?: boolean };

/** Another instance, as its lease tells of it. */
export interface Peer {
  readonly instanceId: string;
  /** Its `Relay.address`. */
  readonly address: string;
}

/** What a relay tells its instance. */
export interface RelayEvents {
  /** Carries out what another instance asks. Called at most once for each message, before its deadline. Never rejects. */
  onMessage(from: string, message: RelayMessage): Promise<RelayAnswer>;
  /** This instance could not be reached for a second or more, so others may have taken it for dead. */
  onLapse(): void;
}

/**
 * The way from instance to instance. Every driver passes `test/relay/conformance.ts`.
 *
 * A message is carried out at most once, by the instance that it is for, and not after its deadline; messages between two
 * instances are taken in the order in which they were sent, as long as each waits for the outcome of the one before.
 * What is forged, altered, too old or not for this instance is dropped.
 */
export interface Relay {
  readonly kind: "http" | "redis" | "upstash";
  /** What this instance's lease tells the others: an `http:` URL, or the name of the driver. */
  readonly address: string;
  /** How often it is worth asking whether an instance that we depend on still lives, in ms. */
  readonly helloMs: number;
  /**
   * Resolves within `deadlineMs`, give or take a timer. Never rejects. Whoever seems not to listen may be about to listen
   * again and is waited for, unless `isGone` knows that it has ended; that never rejects either.
   */
  send(
    to: Peer,
    message: RelayMessage,
    deadlineMs: number,
    isGone?: () => Promise<boolean>,
  ): Promise<RelayOutcome>;
  /** Takes nothing more and lets go of connections. Safe to call twice. */
  close(): Promise<void>;
}

/** The relay of this instance. It knows its address when the port is known, so it comes later than those who use it. */
export interface RelaySlot {
  /** Undefined until then, and when the relay is off. */
  readonly current: Relay | undefined;
}
