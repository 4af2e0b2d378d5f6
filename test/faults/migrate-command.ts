import { onTestFinished } from "vitest";
import type { SwitchReport, SwitchStep } from "../../src/session-store/switch.ts";
import { runProgram, spawnProgram, type Exit, type SpawnedProgram } from "../support/spawn-gateway.ts";

/** The two stores of a move, as URLs. */
export interface Move {
  from: string;
  to: string;
}

/** Small pages, so that there is something between the first and the last one. */
export const LIVE = ["--live", "--batch", "200"];

/** Starts the real command line. That of the destination is a secret, and comes by a variable. */
export function startMigrate({ from, to }: Move, more: readonly string[]): SpawnedProgram {
  const program = spawnProgram({
    args: ["migrate", "--from", from, "--to", "env:DEST", "--json", ...more],
    env: { DEST: to },
  });
  onTestFinished(() => program.end());
  return program;
}

/** Lets a live move come to this step, and stops it there. */
export async function stopAt(move: Move, step: SwitchStep, by: "SIGINT" | "SIGKILL"): Promise<Exit> {
  const program = startMigrate(move, LIVE);
  await program.logged((line) => line["step"] === step);
  program.signal(by);
  const exit = await program.exited;
  process.stderr.write(`stopped in ${step} by ${by}: ${exit.code} ${program.stderr().trim()}\n`);
  return exit;
}

/** Runs a command to its end and answers its result. Throws with what it said when it failed. */
export async function finish<T = SwitchReport>(program: SpawnedProgram): Promise<T> {
  const { code } = await program.exited;
  const result = program.logs().find(({ type }) => type === "result");
  if (code !== 0 || result === undefined) throw new Error(`migrate ended with ${code}: ${program.stderr()}`);
  return result as T;
}

/** What `verify` says of the two stores, and its exit code. */
export async function verify({ from, to }: Move): Promise<{ code: number | null; said: string }> {
  const { code, stdout, stderr } = await runProgram({
    args: ["verify", "--from", from, "--to", "env:DEST"],
    env: { DEST: to },
  });
  return { code, said: `${stdout}${stderr}`.trim() };
}
