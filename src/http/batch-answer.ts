import type { ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import { splitBatch } from "../protocol/batch.ts";
import { scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import type { ClientStream, ClientStreamEvents } from "../session/client-stream.ts";
import { laneId } from "../session/lane-id.ts";
import { answerEmpty, requestIdOf } from "./answer.ts";
import { EventStream } from "./event-stream.ts";
import { retryMs } from "./open-stream.ts";
import type { DoorParts } from "./routes.ts";
import { lateRpcError } from "./rpc-answer.ts";
import { give, type StreamableRequest } from "./streamable-request.ts";

/**
 * Answers a batch, which only clients of 2025-03-26 send: its messages go to the server in order, and the answers to its
 * requests come on one stream, each as its lane has it.
 */
export async function answerBatch(
  request: StreamableRequest,
  batch: Buffer,
  parts: DoorParts,
): Promise<void> {
  const { res } = request;
  const id = request.id as string;
  const messages = splitBatch(batch);
  if (typeof messages === "string") throw new GatewayError(messages);
  const scanned = messages.map((message) => ({ message, envelope: scan(message) }));
  const requests = scanned.filter(({ envelope }) => envelope.kind === "request").length;
  if (requests === 0) {
    for (const { message, envelope } of scanned) await give(request, id, message, envelope, parts);
    return answerEmpty(res, 202);
  }
  if (res.socket === null) throw new GatewayError("bad_request");
  const shared = new SharedStream(res, requests);
  shared.begin({ "Mcp-Session-Id": id });
  for (const [position, { message, envelope }] of scanned.entries()) {
    // An id may stand twice in it.
    const lane = laneId(`${requestIdOf(res)}-${position}`, envelope.id ?? "");
    const stream = envelope.kind === "request" ? new BatchPart(shared, `${id}.${lane}.`) : undefined;
    try {
      await give(request, id, message, envelope, parts, stream && { lane, stream });
    } catch (error) {
      // Of what is no request nobody waits for an answer, so there is nobody to tell.
      stream?.write(0, lateRpcError(res, error, parts.log, envelope.id));
      stream?.end();
    }
  }
}

function scan(message: Buffer): Envelope {
  const envelope = scanMessage(message);
  if (typeof envelope === "string") throw new GatewayError(envelope);
  if (envelope.method === "initialize") throw new GatewayError("already_initialized");
  return envelope;
}

/** One response that several lanes write to, and which ends with the last of them. */
class SharedStream extends EventStream {
  readonly parts = new Set<BatchPart>();
  #open: number;

  constructor(res: ServerResponse, count: number) {
    super(res);
    this.#open = count;
  }

  protected override drained(): void {
    this.parts.forEach((part) => part.events?.onDrain(part));
  }

  protected override closed(): void {
    this.parts.forEach((part) => part.events?.onClose(part));
  }

  partEnded(retry: number | undefined): void {
    this.#open -= 1;
    if (this.#open === 0) this.end(retry);
  }
}

/** One lane's part of a shared response. */
class BatchPart implements ClientStream {
  readonly canResume = true;
  readonly endsUnheard = false;
  readonly #shared: SharedStream;
  readonly #idPrefix: string;
  #events: ClientStreamEvents | undefined;
  readonly #taken;
  #isEnded = false;

  constructor(shared: SharedStream, idPrefix: string) {
    this.#shared = shared;
    this.#idPrefix = idPrefix;
    this.#taken = shared.whenTaken(() => this.events?.onTaken(this));
    shared.parts.add(this);
  }

  get events(): ClientStreamEvents | undefined {
    return this.#events;
  }

  /** As of an `EventStream`: the client may be gone before the last of its messages is given. */
  set events(events: ClientStreamEvents | undefined) {
    this.#events = events;
    if (this.#shared.isClosed) queueMicrotask(() => this.#events === events && events?.onClose(this));
  }

  get pendingBytes(): number {
    return this.#shared.pendingBytes;
  }

  write(sequence: number, message: Buffer): boolean {
    return this.#shared.writeEvent(this.#idPrefix, sequence, message, this.#taken);
  }

  confirm(): Promise<void> {
    return Promise.resolve();
  }

  ping(): void {
    this.#shared.ping();
  }

  end(retry?: number): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#shared.partEnded(retry === undefined ? undefined : retryMs());
  }

  cut(): void {
    this.#shared.cut();
  }
}
