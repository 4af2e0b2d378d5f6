import type { Envelope } from "../protocol/json-rpc.ts";
import { locate, type Span, splice } from "../protocol/splice.ts";
import type { Branch } from "./mux-branch.ts";
import { answerTo, stringOf } from "./mux-marks.ts";
import type { Trunk } from "./mux-trunk.ts";

/** From the most to the least that is told. */
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/**
 * The log level of each session of a shared server. The server is told the one of those that lets most through, and
 * the rest is held back here. Who never said a level gets all that comes, as servers do by default.
 */
export class LogLevels {
  readonly #trunk: Trunk;
  readonly #initialized: ReadonlySet<Branch>;
  readonly #levels = new Map<Branch, number>();
  #told: number | undefined;

  constructor(trunk: Trunk, initialized: ReadonlySet<Branch>) {
    this.#trunk = trunk;
    this.#initialized = initialized;
  }

  /** A client's `logging/setLevel`. */
  set(branch: Branch, message: Buffer, envelope: Envelope): Promise<void> | undefined {
    const level = LEVELS.indexOf(stringOf(message, "params", "level") ?? "");
    if (level < 0) return this.#trunk.forward(branch, message, envelope);
    const before = this.#levels.get(branch);
    this.#levels.set(branch, level);
    const needed = this.#needed();
    if (needed === this.#told) {
      branch.deliverSoon(answerTo(message, "{}"));
      return undefined;
    }
    const toldBefore = this.#told;
    this.#told = needed;
    const undo = (): void => {
      this.#told = toldBefore;
      if (before === undefined) this.#levels.delete(branch);
      else this.#levels.set(branch, before);
    };
    const span = locate(message, ["params", "level"]) as Span;
    const told = splice(message, [{ ...span, text: JSON.stringify(LEVELS[needed]) }]);
    const sent = this.#trunk.forward(branch, told, envelope, (answer, failed) => {
      if (failed) undo();
      return answer;
    });
    return sent?.catch((error: unknown) => {
      undo();
      throw error;
    });
  }

  /** Whether a session wants this log message. */
  allows(branch: Branch, message: Buffer): boolean {
    const wanted = this.#levels.get(branch);
    const level = LEVELS.indexOf(stringOf(message, "params", "level") ?? "");
    return wanted === undefined || level < 0 || level >= wanted;
  }

  left(branch: Branch): void {
    this.#levels.delete(branch);
    this.adjust();
  }

  /** Sessions have come or gone: what the server is told may have to change. Only once someone has said a level. */
  adjust(): void {
    if (this.#told === undefined || this.#initialized.size === 0) return;
    const needed = this.#needed();
    if (needed === this.#told) return;
    this.#told = needed;
    const params = { level: LEVELS[needed] };
    const message = { jsonrpc: "2.0", id: 0, method: "logging/setLevel", params };
    this.#trunk.ask(Buffer.from(JSON.stringify(message)), undefined)?.catch(() => undefined);
  }

  #needed(): number {
    for (const branch of this.#initialized) if (!this.#levels.has(branch)) return 0;
    return Math.min(...this.#levels.values());
  }
}
