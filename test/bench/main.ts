import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import process from "node:process";
import { runCalls } from "./call.ts";
import { callTable } from "./call-table.ts";
import { idleTable, runIdle } from "./idle.ts";
import { HELP, type Options, readOptions } from "./options.ts";
import { canPin } from "./pin.ts";
import { profileTables, runProfile } from "./profile.ts";
import { type Target, findTargets } from "./targets.ts";
import { interrupt, interrupted } from "./with-load.ts";

// The bench: what a call, an idle session and the gateway's own code cost, beside the thinnest servers that do the same.
// Everything runs on 127.0.0.1, and every run has an end.

const DEFAULT_TARGETS = {
  call: ["sse-echo", "sse-bridge", "express-echo", "gateway", "gateway-express"],
  // A child per session is no idle floor: two thousand of them are 80 GB.
  idle: ["sse-echo", "gateway-builtin"],
  profile: ["gateway"],
} as const;

interface Run {
  target: string;
  round: number;
  leftovers: string[];
}

/** Rounds in turn, odd ones forwards and even ones backwards, so that a drift of the box falls on all alike. */
async function runRounds<R extends Run>(
  options: Options,
  targets: readonly Target[],
  run: (target: Target, round: number, options: Options) => Promise<R>,
): Promise<R[]> {
  const runs: R[] = [];
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const target of round % 2 === 1 ? targets : targets.toReversed()) {
      if (interrupted.aborted) return runs;
      const startedAt = performance.now();
      try {
        const done = await run(target, round, options);
        runs.push(done);
        say(`round ${round} ${target.name}: ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
        for (const left of done.leftovers) say(`left behind by ${target.name}: ${left}`);
      } catch (error) {
        // The other runs are still worth their time.
        say(
          `round ${round} ${target.name} failed: ${error instanceof Error ? error.message : String(error)}`,
        );
        process.exitCode = 1;
      }
    }
  }
  return runs;
}

async function runMode(options: Options, targets: readonly Target[]): Promise<{ runs: Run[]; text: string }> {
  switch (options.mode) {
    case "call": {
      const runs = await runRounds(options, targets, runCalls);
      const failed = runs.find(({ firstError }) => firstError !== undefined);
      if (failed !== undefined) say(`first error of ${failed.target}: ${failed.firstError}`);
      return { runs, text: callTable(runs, options.against) };
    }
    case "idle": {
      const runs = await runRounds(options, targets, runIdle);
      const failed = runs.find(({ firstFailure }) => firstFailure !== undefined);
      if (failed !== undefined) say(`first failure of ${failed.target}: ${failed.firstFailure}`);
      return { runs, text: idleTable(runs) };
    }
    case "profile": {
      const runs = await runRounds(options, targets, runProfile);
      return { runs, text: profileTables(runs) };
    }
  }
}

function startable(options: Options): Target[] {
  return findTargets(options.targets ?? DEFAULT_TARGETS[options.mode]).filter((target) => {
    const missing = target.missing();
    if (missing !== undefined) say(`${target.name} is skipped: ${missing}`);
    return missing === undefined;
  });
}

function describe(options: Options): string {
  const { mode, sessions, inFlight, bytes, warmUpSeconds, seconds, rounds, against } = options;
  const shape =
    mode === "idle"
      ? `${sessions} idle sessions`
      : `${sessions} sessions x ${inFlight} in flight, ${bytes} bytes, ${warmUpSeconds} s warm-up, ${seconds} s counted`;
  const base = mode === "call" ? `, x base = within each round, against ${against}` : "";
  const pins = canPin ? "server on core 0, generator on core 1" : "not pinned";
  return `${mode}: ${shape}, ${rounds} rounds${base}\nNode ${process.version}, ${cpus()[0]?.model ?? "?"}, ${pins}\n`;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) {
    process.stdout.write(HELP);
    return;
  }
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  const { runs, text } = await runMode(options, startable(options));
  process.stdout.write(`${describe(options)}\n${text}`);
  if (runs.length > 0 && runs.every(({ leftovers }) => leftovers.length === 0))
    process.stdout.write("\nNo process was left behind.\n");
  if (options.jsonFile !== undefined) {
    writeFileSync(
      options.jsonFile,
      `${JSON.stringify({ node: process.version, canPin, options, runs }, null, 2)}\n`,
    );
  }
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
