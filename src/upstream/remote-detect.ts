import { Refusal } from "./remote-post.ts";
import { SseWire } from "./remote-sse.ts";
import { StreamableWire } from "./remote-streamable.ts";
import type { RemoteHttp } from "./remote-http.ts";
import type { Outgoing, Wire, WireOptions } from "./remote-wire.ts";

export type Transport = "streamable" | "sse";

/** What the links of one server have found out. */
export interface Memory {
  transport: Transport | undefined;
}

export interface DetectingWireOptions extends Omit<WireOptions, "http"> {
  createHttp(): RemoteHttp;
  memory: Memory;
}

export function createWire(transport: Transport, options: WireOptions): Wire {
  return transport === "sse" ? new SseWire(options) : new StreamableWire(options);
}

/** A wire that finds the server's transport out with its first message, in the order that the specification names. */
export class DetectingWire implements Wire {
  readonly #options: DetectingWireOptions;
  #wire: Wire | undefined;
  #trying: Wire | undefined;

  constructor(options: DetectingWireOptions) {
    this.#options = options;
  }

  get answersLate(): boolean {
    return this.#wire?.answersLate ?? false;
  }

  async post(outgoing: Outgoing): Promise<void> {
    if (this.#wire !== undefined) return this.#wire.post(outgoing);
    const { memory } = this.#options;
    const first = memory.transport ?? "streamable";
    const second = first === "sse" ? "streamable" : "sse";
    try {
      await this.#try(first, outgoing);
    } catch (error) {
      if (!(error instanceof Refusal) || ![400, 404, 405].includes(error.status)) throw error;
      await this.#try(second, outgoing).catch(() => {
        throw error;
      });
    }
  }

  pause(): void {
    (this.#wire ?? this.#trying)?.pause();
  }

  resume(): void {
    (this.#wire ?? this.#trying)?.resume();
  }

  async close(): Promise<void> {
    await (this.#wire ?? this.#trying)?.close();
  }

  async #try(transport: Transport, outgoing: Outgoing): Promise<void> {
    const { createHttp, memory, ...options } = this.#options;
    const wire = createWire(transport, { ...options, http: createHttp() });
    this.#trying = wire;
    try {
      await wire.post(outgoing);
      this.#wire = wire;
      memory.transport = transport;
    } catch (error) {
      this.#trying = undefined;
      void wire.close();
      throw error;
    }
  }
}
