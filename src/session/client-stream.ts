/**
 * One open stream to the client, as a session sees it. The door implements it over HTTP; a session may see several in
 * its life, one at a time.
 */
export interface ClientStream {
  /** Writes one message (on one line). False when the client does not keep up: write again after `onDrain`. */
  write(sequence: number, message: Buffer): boolean;
  /** Writes the heartbeat comment. */
  ping(): void;
  /** Bytes written that the client's end has not taken. */
  readonly pendingBytes: number;
  /** Ends the stream after what was written. `retryMs` tells the client how long to wait before it reconnects. */
  end(retryMs?: number): void;
  /** Cuts the stream at once. */
  cut(): void;
}

/** What a stream tells its session. */
export interface ClientStreamEvents {
  onDrain(): void;
  /** The stream is over, whoever ended it. Called once. */
  onClose(): void;
}
