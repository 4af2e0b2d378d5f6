import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { askProcess } from "./ask-process.ts";
import type { Counted, LoadPlan } from "./load/orders.ts";
import { GENERATOR_CORE, pinned } from "./pin.ts";
import { pathOf } from "./target.ts";
import { interrupted } from "./with-load.ts";

/** Where the POSTs go: to the instance that holds the stream, or to the other one. */
export type Where = "owner" | "other";

export interface TwoPortsPlan {
  /** Its port is the owner's. */
  plan: LoadPlan;
  otherPort: number;
}

/** One order at a time; each gets one reply. `alone`: one session with one call in flight, while the others are idle. */
export type TwoPortsOrder =
  | { do: "open"; plan: TwoPortsPlan; sessions: number }
  | { do: "warm-up"; where: Where; alone: boolean; seconds: number }
  | { do: "count"; seconds: number }
  | { do: "close" };

export type Told = { done: TwoPortsOrder["do"]; counted?: Counted } | { failed: string };

const SCRIPT = pathOf("./two-ports.ts", import.meta.url);
const BEYOND_THE_ORDER_MS = 60_000;

/** The process of the generator with two ports. */
export class TwoPortsLoad {
  readonly #child: ChildProcess;
  readonly #kill = (): void => void this.#child.kill("SIGKILL");

  constructor() {
    interrupted.throwIfAborted();
    const [command = "", ...rest] = pinned(GENERATOR_CORE, [process.execPath, "--import", "tsx", SCRIPT]);
    this.#child = spawn(command, rest, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    interrupted.addEventListener("abort", this.#kill);
  }

  async open(plan: TwoPortsPlan, sessions: number): Promise<void> {
    await this.#ask({ do: "open", plan, sessions }, BEYOND_THE_ORDER_MS);
  }

  /** Begins to call; `count` ends it. */
  async warmUp(where: Where, alone: boolean, seconds: number): Promise<void> {
    await this.#ask({ do: "warm-up", where, alone, seconds }, seconds * 1000 + BEYOND_THE_ORDER_MS);
  }

  async count(seconds: number): Promise<Counted> {
    const told = await this.#ask({ do: "count", seconds }, seconds * 1000 + BEYOND_THE_ORDER_MS);
    if (told.counted === undefined) throw new Error("the generator did not say what it counted");
    return told.counted;
  }

  /** Ends all streams; the process stays. */
  async hangUp(): Promise<void> {
    await this.#ask({ do: "close" }, BEYOND_THE_ORDER_MS);
  }

  /** Safe to call twice. */
  async close(): Promise<void> {
    interrupted.removeEventListener("abort", this.#kill);
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#kill();
    await exited;
  }

  #ask(order: TwoPortsOrder, withinMs: number): Promise<Exclude<Told, { failed: string }>> {
    return askProcess(this.#child, order, withinMs);
  }
}
