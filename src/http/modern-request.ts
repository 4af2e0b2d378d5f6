import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import type { Calls } from "../events.ts";
import type { Log } from "../log.ts";
import { checkModern } from "../protocol/modern.ts";
import { answerEmpty } from "./answer.ts";
import { ModernExchange, type ExchangeTimes, type ModernRequest } from "./modern-exchange.ts";
import { InFlight, type ModernLimits } from "./modern-limits.ts";
import { KnownTools } from "./modern-tools.ts";
import { answerRpcError } from "./rpc-answer.ts";

export interface ModernDoorOptions extends ExchangeTimes {
  limits: ModernLimits;
  /** Watches requests. */
  calls?: Calls | undefined;
  log: Log;
}

/** Where requests of the 2026-07-28 era come in. Each stands alone: any instance can answer it. */
export class ModernDoor {
  readonly #options: ModernDoorOptions;
  readonly #inFlight: InFlight;
  readonly #tools = new KnownTools();
  readonly #exchanges = new Set<ModernExchange>();
  #isDraining = false;
  #onIdle: (() => void) | undefined;

  constructor(options: ModernDoorOptions) {
    this.#options = options;
    this.#inFlight = new InFlight(options.limits);
  }

  /** How many messages wait for their answer, or for their client to take it. */
  get inFlight(): number {
    return this.#exchanges.size;
  }

  /**
   * Carries one message that `isModern`, and answers it whatever happens. A request's answer is JSON, or a stream when the
   * server says something before it, or nothing for as long as a heartbeat. Who disconnects cancels.
   */
  async serve(req: IncomingMessage, res: ServerResponse, request: ModernRequest): Promise<void> {
    const { log } = this.#options;
    const { message, envelope, caller, upstream } = request;
    try {
      const problem = checkModern(req.headers, message, envelope);
      if (problem !== undefined) throw new GatewayError(problem.reason, problem);
      if (envelope.method === "tools/call") this.#tools.check(caller, upstream.name, req.headers, message);
      if (this.#isDraining) throw new GatewayError("draining");
      // Here who wants to cancel disconnects. An id in a notification could be anybody's.
      if (envelope.method === "notifications/cancelled") return answerEmpty(res, 202);
      // A server that is reached through a session of another era would take it for the beginning of one.
      if (envelope.method === "initialize") throw new GatewayError("upstream_cannot");
      // Behind another answer on its connection a stream would wait unseen, and so would its end.
      if (res.socket === null) throw new GatewayError("bad_request");
      const leave = this.#inFlight.enter(
        caller,
        envelope.method === "subscriptions/listen" ? "listens" : "requests",
      );
      const onResult = (response: Buffer) => {
        if (envelope.method === "tools/list") this.#tools.learn(caller, upstream.name, response);
      };
      const watched = { ...request, calls: this.#options.calls };
      const exchange = new ModernExchange(req, res, watched, this.#options, log, onResult, () => {
        leave();
        this.#exchanges.delete(exchange);
        if (this.#exchanges.size === 0) this.#onIdle?.();
      });
      this.#exchanges.add(exchange);
      await exchange.begin();
    } catch (error) {
      answerRpcError(req, res, error, log, envelope.id);
    }
  }

  /** To be called about once a second. */
  beat(now: number): void {
    for (const exchange of this.#exchanges) exchange.beat(now);
  }

  /** Ends those that never end by themselves and are meant. */
  closeListens(isMeant: (whose: { caller: string; key: string | undefined }) => boolean): void {
    for (const exchange of this.#exchanges) if (exchange.isListen && isMeant(exchange)) exchange.endListen();
  }

  /** Takes no more, and ends what never ends by itself. Resolves when all is answered, or the time is up. */
  async drain(timeIsUp: AbortSignal): Promise<void> {
    this.#isDraining = true;
    for (const exchange of this.#exchanges) if (exchange.isListen) exchange.endListen();
    if (this.#exchanges.size === 0 || timeIsUp.aborted) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
      timeIsUp.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  /** Takes no more, and answers what is still in flight that its answer is lost. Safe to call twice. */
  close(): void {
    this.#isDraining = true;
    for (const exchange of this.#exchanges) {
      if (exchange.isListen) exchange.endListen();
      else exchange.fail(new GatewayError("answer_lost"));
    }
  }
}
