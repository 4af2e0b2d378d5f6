import type { GatewayError } from "../errors.ts";
import { type Envelope, errorResponse } from "../protocol/json-rpc.ts";
import type { Branch } from "./mux-branch.ts";
import { ownIdOf, renameAnswer } from "./mux-marks.ts";
import type { Trunk } from "./mux-trunk.ts";

interface WaitingClient {
  readonly branch: Branch;
  readonly initialize: Buffer;
}

/** The one `initialize` that a shared server is told, and its answer for all whose own is equal. */
export class Handshake {
  /** Those who have said that they are initialized. */
  readonly initialized = new Set<Branch>();
  readonly #trunk: Trunk;
  /** Waiting for the answer, the one that was asked for first. At most one entry a session: it initializes once. */
  #waiting: WaitingClient[] = [];
  #isAsking = false;
  #answer: Buffer | undefined;
  #isToldInitialized = false;

  constructor(trunk: Trunk) {
    this.#trunk = trunk;
  }

  /** A client's `initialize`. As `Link.send`. */
  initialize(branch: Branch, initialize: Buffer): Promise<void> | undefined {
    if (this.#answer !== undefined) {
      branch.deliverSoon(renameAnswer(this.#answer, ownIdOf(initialize)));
      return undefined;
    }
    const client = { branch, initialize };
    this.#waiting.push(client);
    if (this.#isAsking) return undefined;
    return this.#ask(client);
  }

  /** A client's `notifications/initialized`: the server hears it once. */
  confirm(branch: Branch, message: Buffer, envelope: Envelope): Promise<void> | undefined {
    this.initialized.add(branch);
    if (this.#isToldInitialized) return undefined;
    this.#isToldInitialized = true;
    return this.#trunk.forward(branch, message, envelope)?.catch((error: unknown) => {
      this.#isToldInitialized = false;
      throw error;
    });
  }

  left(branch: Branch): void {
    this.initialized.delete(branch);
    // The server goes on with a handshake whose client has gone: those who come after have use for it.
    this.#waiting = this.#waiting.filter((client) => client.branch !== branch);
  }

  #ask(client: WaitingClient): Promise<void> | undefined {
    this.#isAsking = true;
    const sent = this.#trunk.ask(client.initialize, (answer, failed) => {
      this.#isAsking = false;
      if (answer === undefined) return;
      if (!failed) return this.#remember(answer);
      this.#leave(client)?.branch.deliver(renameAnswer(answer, ownIdOf(client.initialize)));
      this.#askNext();
    });
    return sent?.catch((error: unknown) => {
      this.#isAsking = false;
      this.#leave(client);
      this.#askNext();
      throw error;
    });
  }

  #remember(answer: Buffer): void {
    this.#answer = answer;
    for (const { branch, initialize } of this.#waiting.splice(0)) {
      branch.deliver(renameAnswer(answer, ownIdOf(initialize)));
    }
  }

  #askNext(): void {
    const next = this.#waiting[0];
    if (next === undefined) return;
    this.#ask(next)?.catch(({ words, reason }: GatewayError) => {
      next.branch.deliver(errorResponse(ownIdOf(next.initialize), words.rpcCode, words.message, reason));
    });
  }

  #leave(client: WaitingClient): WaitingClient | undefined {
    const at = this.#waiting.indexOf(client);
    return at < 0 ? undefined : this.#waiting.splice(at, 1)[0];
  }
}
