import { percentile } from "../figures.ts";
import type { Counted } from "./orders.ts";

/** Counts the outcomes of calls over one stretch of time. */
export class Tally {
  right = 0;
  wrongSession = 0;
  stray = 0;
  errors = 0;
  lostSessions = 0;
  #firstError: string | undefined;
  #latenciesMs: number[] = [];
  #startedAt = performance.now();
  #cpuAtStart = process.cpuUsage();

  reset(): void {
    this.right = 0;
    this.wrongSession = 0;
    this.stray = 0;
    this.errors = 0;
    this.lostSessions = 0;
    this.#firstError = undefined;
    this.#latenciesMs = [];
    this.#startedAt = performance.now();
    this.#cpuAtStart = process.cpuUsage();
  }

  countRight(latencyMs: number): void {
    this.right += 1;
    this.#latenciesMs.push(latencyMs);
  }

  countError(what: string): void {
    this.errors += 1;
    this.#firstError ??= what;
  }

  read(): Counted {
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const cpu = process.cpuUsage(this.#cpuAtStart);
    return {
      seconds,
      right: this.right,
      wrongSession: this.wrongSession,
      stray: this.stray,
      errors: this.errors,
      ...(this.#firstError === undefined ? {} : { firstError: this.#firstError }),
      lostSessions: this.lostSessions,
      p50Ms: percentile(this.#latenciesMs, 0.5),
      p99Ms: percentile(this.#latenciesMs, 0.99),
      generatorShare: (cpu.user + cpu.system) / 1e6 / seconds,
    };
  }
}
