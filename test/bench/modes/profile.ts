import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { Profiler } from "node:inspector";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { table } from "../figures.ts";
import type { Counted } from "../load/orders.ts";
import type { Mode, Options, Run } from "../mode.ts";
import { type ProfileShares, readProfile } from "../read-profile.ts";
import type { Target } from "../target.ts";
import { planOf, withLoad } from "../with-load.ts";

const PRELOAD = new URL("../profile-on-signal.mjs", import.meta.url).href;
const WRITTEN_WITHIN_MS = 20_000;
const FUNCTIONS_SHOWN = 30;

interface ProfileRun extends Run, ProfileShares {
  counted: Counted;
}

/** Where the CPU of the server's own process goes. */
export const PROFILE: Mode<ProfileRun> = {
  name: "profile",
  about: "shares of the server's own CPU while calls are counted",
  targets: ["gateway"],
  defaults: { rounds: 1 },
  run: runProfile,
  table: profileTables,
};

/** One run under load with the sampling profiler on while calls are counted. Children are not in the profile. */
async function runProfile(target: Target, round: number, options: Options): Promise<ProfileRun> {
  const folder = mkdtempSync(join(tmpdir(), "mcp-bench-"));
  const file = join(folder, "server.cpuprofile");
  const profiled = { ...target, env: { ...target.env, BENCH_PROFILE: file } };
  try {
    const { result, leftovers } = await withLoad(
      profiled,
      ["--import", PRELOAD],
      async ({ pid, port }, load) => {
        const opened = await load.open(planOf(target, port, options), options.sessions);
        if (opened.failed > 0)
          throw new Error(`${opened.failed} sessions did not open: ${opened.firstFailure}`);
        await load.warmUp(options.warmUpSeconds, options.warmUpCalls);
        process.kill(pid, "SIGUSR2");
        const counted = await load.count(options.seconds);
        process.kill(pid, "SIGUSR2");
        return { counted, profile: await readWhenWritten(file) };
      },
    );
    return {
      target: target.name,
      round,
      counted: result.counted,
      leftovers,
      ...readProfile(result.profile),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function readWhenWritten(file: string): Promise<Profiler.Profile> {
  const deadline = performance.now() + WRITTEN_WITHIN_MS;
  while (performance.now() < deadline) {
    await sleep(200);
    if (!existsSync(file)) continue;
    try {
      return JSON.parse(readFileSync(file, "utf8")) as Profiler.Profile;
    } catch {
      // It is being written.
    }
  }
  throw new Error("the server wrote no profile");
}

function profileTables(runs: readonly ProfileRun[]): string {
  return runs
    .map(({ target, round, busySeconds, counted, families, functions }) => {
      const rate = Math.round(counted.right / counted.seconds);
      return [
        `${target}, round ${round}: self time of ${busySeconds.toFixed(1)} busy seconds, ${rate} calls/s under the profiler\n\n`,
        table(["family", "%"], families.map(row)),
        "\n",
        table(["function", "%"], functions.slice(0, FUNCTIONS_SHOWN).map(row)),
      ].join("");
    })
    .join("\n");
}

function row({ name, share }: { name: string; share: number }): string[] {
  return [name, (share * 100).toFixed(1)];
}
