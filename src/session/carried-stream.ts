import type { Peer, Relay } from "../relay/relay.ts";
import type { ClientStream, ClientStreamEvents } from "./client-stream.ts";

export interface CarriedStreamParts {
  relay: Relay;
  /** The instance that the client has reached. */
  peer: Peer;
  /** The stream's name there. */
  streamId: string;
  /** The stream is over. */
  onGone(stream: CarriedStream): void;
}

/** What goes in one message to the other instance, and how much may be on its way. */
const BATCH_BYTES = 512 * 1024;
const BATCH_COUNT = 512;
const FULL_BYTES = 256 * 1024;
/** The other instance answers before this, however slowly its client reads. */
const SEND_MS = 15_000;

/** How long the other instance may take to say that it lives. */
const CONFIRM_MS = 2000;

interface Waiting {
  sequence: number;
  message: Buffer;
}

/**
 * The stream of a client that reached another instance: what is written goes there in batches, one at a time and so in
 * order, and counts as taken when the client's socket there took it.
 */
export class CarriedStream implements ClientStream {
  events: ClientStreamEvents | undefined;
  readonly canResume = true;
  /** The instance that holds the socket may die with it. */
  readonly endsUnheard = true;
  readonly #parts: CarriedStreamParts;
  #waiting: Waiting[] = [];
  /** Bytes of messages that the other side has not reported as taken, oldest first. */
  #untaken: number[] = [];
  #pendingBytes = 0;
  /** Messages that were sent there, and that were reported as taken. */
  #sent = 0;
  #reported = 0;
  #isSending = false;
  #isFull = false;
  #isOver = false;
  #end: { retryMs?: number } | undefined;

  constructor(parts: CarriedStreamParts) {
    this.#parts = parts;
  }

  get peer(): Peer {
    return this.#parts.peer;
  }

  get streamId(): string {
    return this.#parts.streamId;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  write(sequence: number, message: Buffer): boolean {
    this.#waiting.push({ sequence, message });
    this.#untaken.push(message.length);
    this.#pendingBytes += message.length;
    void this.#pump();
    this.#isFull = this.#pendingBytes >= FULL_BYTES;
    return !this.#isFull;
  }

  async confirm(): Promise<void> {
    const { relay, peer, streamId } = this.#parts;
    const head = { held: [streamId] };
    const outcome = await relay.send(peer, { kind: "hello", head, bodies: [] }, CONFIRM_MS);
    const lost =
      outcome.kind === "answered" && Array.isArray(outcome.answer["lost"]) ? outcome.answer["lost"] : [];
    if (outcome.kind === "dead" || lost.includes(streamId)) this.close();
  }

  ping(): void {
    // The instance that holds the socket writes the heartbeat.
  }

  end(retryMs?: number): void {
    this.#end ??= retryMs === undefined ? {} : { retryMs };
    void this.#pump();
  }

  cut(): void {
    if (this.#isOver) return;
    void this.#send([], {}).catch(() => undefined);
    this.close();
  }

  /** The other side is gone, or has no such stream any more. */
  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#parts.onGone(this);
    this.events?.onClose(this);
  }

  async #pump(): Promise<void> {
    if (this.#isSending || this.#isOver) return;
    this.#isSending = true;
    // What is written in this turn goes together.
    await Promise.resolve();
    while (!this.#isOver && (this.#untaken.length > 0 || this.#end !== undefined)) {
      const batch = this.#nextBatch();
      const end = this.#waiting.length === 0 ? this.#end : undefined;
      const outcome = await this.#send(batch, end);
      if (this.#isOver) break;
      const isDelivered = outcome.kind === "answered" && outcome.answer["delivery"] === "delivered";
      if (isDelivered) this.#take(Number(outcome.answer["taken"]) - this.#reported);
      // They may have been written there: to write them again could be once too often.
      else if (outcome.kind === "unknown") this.#take(this.#sent - this.#reported);
      if (!isDelivered || end !== undefined) this.close();
    }
    this.#isSending = false;
  }

  #send(batch: readonly Waiting[], end: { retryMs?: number } | undefined) {
    const { relay, peer, streamId } = this.#parts;
    const head = { stream: streamId, sequences: batch.map(({ sequence }) => sequence), end };
    const bodies = batch.map(({ message }) => message);
    return relay.send(peer, { kind: "events", head, bodies }, SEND_MS);
  }

  #nextBatch(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { message } of this.#waiting) {
      bytes += message.length;
      if (count > 0 && (bytes > BATCH_BYTES || count >= BATCH_COUNT)) break;
      count += 1;
    }
    this.#sent += count;
    return this.#waiting.splice(0, count);
  }

  #take(count: number): void {
    for (let one = 0; one < count && this.#untaken.length > 0; one += 1) {
      this.#reported += 1;
      this.#pendingBytes -= this.#untaken.shift() as number;
      this.events?.onTaken(this);
    }
    if (!this.#isFull || this.#pendingBytes > 0) return;
    this.#isFull = false;
    this.events?.onDrain(this);
  }
}
