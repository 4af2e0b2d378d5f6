import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import process from "node:process";
import type { Mode, Options } from "./mode.ts";
import { helpText, readOptions } from "./options.ts";
import { canPin, pinOurselves } from "./pin.ts";
import { runReport, runShort } from "./report/report.ts";
import { runRounds, say } from "./rounds.ts";
import { interrupt } from "./with-load.ts";

// The bench: what calls, idle sessions and the gateway's own code cost, beside the thinnest servers that do the same and
// what users would run instead. Everything runs on 127.0.0.1, and every run has an end.

function describe(mode: Mode, options: Options): string {
  const { sessions, inFlight, bytes, warmUpSeconds, seconds, rounds, against } = options;
  const shape = `${sessions} sessions x ${inFlight} in flight, ${bytes} bytes, ${warmUpSeconds} s warm-up, ${seconds} s counted`;
  const pins = canPin ? "server on core 0, generator on core 1" : "not pinned";
  return `${mode.name}: ${shape}, ${rounds} rounds, x base = within each round, against ${against}\nNode ${process.version}, ${cpus()[0]?.model ?? "?"}, ${pins}\n`;
}

async function main(): Promise<void> {
  const [first, ...rest] = process.argv.slice(2);
  if (first === "report" || first === "short") {
    process.once("SIGINT", interrupt);
    process.once("SIGTERM", interrupt);
    pinOurselves();
    await (first === "report" ? runReport(rest) : runShort(rest));
    return;
  }
  const asked = readOptions(process.argv.slice(2));
  if (asked === undefined) {
    process.stdout.write(helpText());
    return;
  }
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  const { mode, options, jsonFile } = asked;
  pinOurselves();
  const runs = await runRounds(mode, options);
  process.stdout.write(`${describe(mode, options)}\n${mode.table(runs, options)}`);
  if (jsonFile !== undefined) {
    writeFileSync(
      jsonFile,
      `${JSON.stringify({ node: process.version, canPin, mode: mode.name, options, runs }, null, 2)}\n`,
    );
  }
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
