/**
 * One open stream to the client, as a session sees it. The door implements it over HTTP, and an instance that carries
 * the stream for another one over the relay; a session may see several in its life, one at a time.
 */
export interface ClientStream {
  /** Whom it tells. The session that it is attached to sets this. */
  events: ClientStreamEvents | undefined;
  /** Writes one message (on one line). False when the client does not keep up: write again after `onDrain`. */
  write(sequence: number, message: Buffer): boolean;
  /** Writes the heartbeat comment. */
  ping(): void;
  /** Id of the API key that was shown for it, where that is known. */
  readonly key?: string | undefined;
  /** Whether the client can go on with another stream where this one ends. */
  readonly canResume: boolean;
  /** Whether its end may be learnt long after it came. */
  readonly endsUnheard: boolean;
  /** Finds out whether it has ended unheard; then `onClose` is called before this resolves. Never rejects. */
  confirm(): Promise<void>;
  /** Bytes written that the client's end has not taken. */
  readonly pendingBytes: number;
  /** Ends the stream after what was written. `retryMs` tells the client how long to wait before it reconnects. */
  end(retryMs?: number): void;
  /** Cuts the stream at once. */
  cut(): void;
}

/** What a stream tells its session. It names itself: a session may have another one by then. */
export interface ClientStreamEvents {
  /** The socket took one more message, in the order in which they were written. */
  onTaken(stream: ClientStream): void;
  onDrain(stream: ClientStream): void;
  /** The stream is over, whoever ended it. Called once, and nothing after it. */
  onClose(stream: ClientStream): void;
}
