import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { askProcess } from "./ask-process.ts";
import type { Counted, LoadPlan, Opened, Order, Reply } from "./load/orders.ts";
import { GENERATOR_CORE, pinned } from "./pin.ts";

const LOAD = fileURLToPath(new URL("./load.ts", import.meta.url));
const BEYOND_THE_ORDER_MS = 120_000;

/** The generator's process, which takes one order at a time. */
export class Load {
  readonly #child: ChildProcess;

  constructor() {
    const [command = "", ...rest] = pinned(GENERATOR_CORE, [process.execPath, "--import", "tsx", LOAD]);
    this.#child = spawn(command, rest, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  }

  async open(plan: LoadPlan, sessions: number): Promise<Opened> {
    const { opened } = await this.#ask({ do: "open", plan, sessions }, BEYOND_THE_ORDER_MS);
    if (opened === undefined) throw new Error("the generator did not say what it opened");
    return opened;
  }

  async warmUp(seconds: number, calls: number): Promise<void> {
    await this.#ask({ do: "warm-up", seconds, calls }, Math.max(1, seconds) * 10_000 + BEYOND_THE_ORDER_MS);
  }

  async count(seconds: number): Promise<Counted> {
    const { counted } = await this.#ask({ do: "count", seconds }, seconds * 1000 + BEYOND_THE_ORDER_MS);
    if (counted === undefined) throw new Error("the generator did not say what it counted");
    return counted;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    await this.#ask({ do: "stop" }, 5000).catch(() => this.#child.kill("SIGKILL"));
    await exited;
  }

  /** Ends it in the middle of an order, which then fails. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #ask(order: Order, withinMs: number): Promise<Exclude<Reply, { failed: string }>> {
    return askProcess(this.#child, order, withinMs);
  }
}
