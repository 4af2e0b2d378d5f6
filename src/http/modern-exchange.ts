import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import type { CallEnd, CallInFlight, Calls } from "../events.ts";
import type { Log } from "../log.ts";
import { onOneLine, scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import { locate, textAt } from "../protocol/splice.ts";
import type { Servers } from "../session/servers.ts";
import { answerEmpty, faultOf, requestIdOf, tellRefusal } from "./answer.ts";
import { ModernStream } from "./modern-stream.ts";
import { answerRpcError, rpcError } from "./rpc-answer.ts";

type Upstream = NonNullable<ReturnType<Servers["statelessFor"]>>;
type Link = Awaited<ReturnType<Upstream["open"]>>;
type LinkEvents = Parameters<Upstream["open"]>[0];
type LinkEnd = Parameters<LinkEvents["onEnd"]>[0];

/** One message of a client, and the way to the server that it is for. */
export interface ModernRequest {
  message: Buffer;
  /** What `scanMessage` found in the message. */
  envelope: Envelope;
  caller: string;
  /** As `Servers.statelessFor` gives it: a link for this one message. */
  upstream: Upstream;
  /** Id of the API key that was shown. */
  key?: string | undefined;
  /** Watches requests. */
  calls?: Calls | undefined;
}

export interface ExchangeTimes {
  /** How long nothing may be sent: then a comment goes out, so that no proxy takes the stream for dead. */
  heartbeatMs: number;
  /** How long a request waits for its answer or the next message before it. */
  requestTimeoutMs: number;
}

/** HTTP statuses of errors that the protocol gives one; an error of a tool or a method is a good answer, with 200. */
const STATUS_BY_CODE = new Map([
  ["-32601", 404],
  ["-32020", 400],
  ["-32021", 400],
  ["-32022", 400],
]);

/** One message on its way to the server and its answer on the way back. Has exactly one outcome. */
export class ModernExchange implements LinkEvents {
  readonly isListen: boolean;
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #request: ModernRequest;
  readonly #times: ExchangeTimes;
  readonly #log: Log;
  readonly #onResult: (response: Buffer) => void;
  readonly #stream: ModernStream;
  readonly #gone = new AbortController();
  #link: Link | undefined;
  #call: CallInFlight | undefined;
  #isOver = false;
  /** When the server was last heard, and the client last told something. */
  #heardAt = performance.now();
  #toldAt = this.#heardAt;

  /**
   * @param onResult called with the response, when it is no error.
   * @param onClosed called when the answer has left, or the client.
   */
  constructor(
    req: IncomingMessage,
    res: ServerResponse,
    request: ModernRequest,
    times: ExchangeTimes,
    log: Log,
    onResult: (response: Buffer) => void,
    onClosed: () => void,
  ) {
    this.#req = req;
    this.#res = res;
    this.#request = request;
    this.#times = times;
    this.#log = log;
    this.#onResult = onResult;
    this.isListen = request.envelope.method === "subscriptions/listen";
    this.#stream = new ModernStream(res, () => this.#link?.resume());
    res.once("close", () => {
      this.#leave();
      onClosed();
    });
  }

  get caller(): string {
    return this.#request.caller;
  }

  /** Id of the API key that was shown. */
  get key(): string | undefined {
    return this.#request.key;
  }

  /** Gives the message to the server. What goes wrong is answered. */
  async begin(): Promise<void> {
    const { upstream, message, envelope, calls } = this.#request;
    const { id, method, kind } = envelope;
    if (kind === "request") {
      const asked = { server: upstream.name, session: undefined, id: id as string, method: method as string };
      this.#call = calls?.begin({ ...asked, message, transport: "stateless" });
    }
    try {
      const link = await upstream.open(this, this.#gone.signal);
      this.#link = link;
      if (this.#isOver) return this.#closeLink();
      if (this.#stream.isBlocked) link.pause();
      await link.send(onOneLine(this.#call?.message ?? message));
      if (envelope.kind === "notification") this.#accept();
    } catch (error) {
      this.fail(error);
    }
  }

  onMessage(message: Buffer): void {
    if (this.#isOver) return;
    this.#heardAt = performance.now();
    const envelope = scanMessage(message);
    if (typeof envelope === "string" || envelope.kind === "request") return this.#drop(envelope);
    if (envelope.kind === "response") {
      if (envelope.id !== this.#request.envelope.id) return this.#drop(envelope);
      if (!envelope.failed) this.#onResult(message);
      this.#tellOutcome({ answer: message, failed: envelope.failed });
      this.#stream.finish(message, statusOf(message, envelope));
      return this.#leave();
    }
    if (this.#request.envelope.kind === "notification") return;
    this.#toldAt = this.#heardAt;
    if (!this.#stream.write(message)) this.#link?.pause();
  }

  onEnd(end: LinkEnd): void {
    this.fail(new GatewayError(end === "closed" ? "upstream_exited" : end));
  }

  /** Answers with a fault, where nothing else has been the outcome. */
  fail(error: unknown): void {
    if (this.#isOver) return;
    this.#tellOutcome({ failed: true, reason: faultOf(error).reason });
    const { id } = this.#request.envelope;
    if (this.#stream.hasBegun) {
      const fault = faultOf(error);
      tellRefusal(this.#req, this.#res, fault, this.#log);
      this.#stream.finish(rpcError(fault, requestIdOf(this.#res), id), 200);
    } else answerRpcError(this.#req, this.#res, error, this.#log, id);
    this.#leave();
  }

  /** Ends a stream that has no response of its own: the client asks another instance for the same. */
  endListen(): void {
    if (this.#isOver) return;
    if (!this.#stream.hasBegun) return this.fail(new GatewayError("draining"));
    this.#stream.end();
    this.#leave();
  }

  /** Does what is due: cuts a client that does not read, gives up a silent server, or lets the client know that we live. */
  beat(now: number): void {
    if (this.#stream.isOverdue(now)) {
      this.#log.info({ event: "slow_reader", requestId: requestIdOf(this.#res) }, "client does not read");
      return this.#stream.cut();
    }
    if (this.#isOver || this.#stream.isBlocked) return;
    if (!this.isListen && now - this.#heardAt >= this.#times.requestTimeoutMs)
      return this.fail(new GatewayError("upstream_timeout"));
    if (this.#request.envelope.kind === "notification" || now - this.#toldAt < this.#times.heartbeatMs)
      return;
    this.#toldAt = now;
    this.#stream.ping();
  }

  #accept(): void {
    if (this.#isOver) return;
    answerEmpty(this.#res, 202);
    this.#leave();
  }

  /** The server cancels what has no answer yet when its link closes. */
  #leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    // Without an outcome of its own it was the client that left.
    this.#tellOutcome({ failed: true, reason: "cancelled" });
    if (this.#link === undefined) this.#gone.abort();
    else this.#closeLink();
  }

  #tellOutcome(outcome: CallEnd): void {
    this.#call?.end(outcome);
    this.#call = undefined;
  }

  #closeLink(): void {
    this.#link?.close().catch((err: unknown) => this.#log.warn({ err }, "a link failed to close"));
  }

  #drop(envelope: Envelope | string): void {
    const { upstream } = this.#request;
    const kind = typeof envelope === "string" ? envelope : envelope.kind;
    this.#log.warn(
      { event: "dropped", server: upstream.name, kind },
      "the server sent what nobody waits for",
    );
  }
}

function statusOf(response: Buffer, { failed }: Envelope): number {
  if (!failed) return 200;
  // Said in an answer where several servers stand behind, of which one cannot be spoken to.
  const reason = locate(response, ["error", "data", "reason"]);
  if (reason && textAt(response, reason) === '"upstream_era"') return 400;
  const code = locate(response, ["error", "code"]);
  return (code && STATUS_BY_CODE.get(textAt(response, code))) ?? 200;
}
