import { parseArgs } from "node:util";
import type { Mode, Options } from "./mode.ts";
import { MODES } from "./modes.ts";
import { TARGETS } from "./targets.ts";

export function helpText(): string {
  return `npm run bench -- [${MODES.map(({ name }) => name).join(" | ")}] [options]

${MODES.map(({ name, about }) => `  ${name.padEnd(18)} ${about}\n`).join("")}
  --targets a,b      ${TARGETS.map(({ name }) => name).join(", ")}
  --against NAME     what the ratios compare with (sse-bridge)
  --rounds N         (3)
  --sessions N       (32)
  --in-flight N      calls in flight in each session (1)
  --bytes N          length of the echoed text, at least 32 (32)
  --warm-up S        seconds before anything is counted (8)
  --warm-up-calls N  and at least so many calls: for slow shapes, where seconds are few calls (0)
  --seconds S        seconds counted (4)
  --disjoint-ids     ids of its own for each session: shows what colliding ids hide
  --json FILE        writes the figures

Some modes have defaults of their own.

npm run bench -- report   measures everything and writes docs/performance.md, its chart and test/bench/figures.json
  --sections a,b     only these, which are printed and not written
npm run bench -- short    under three minutes: fails when CPU per call against the floor has grown by over 15 %
`;
}

export interface Asked {
  mode: Mode;
  options: Options;
  jsonFile: string | undefined;
}

export const GENERAL: Options = {
  targets: undefined,
  against: "sse-bridge",
  rounds: 3,
  sessions: 32,
  inFlight: 1,
  bytes: 32,
  warmUpSeconds: 8,
  warmUpCalls: 0,
  seconds: 4,
  disjointIds: false,
};

/** Reads the arguments; undefined when only the help is asked for. Every number has a bound, so that a run has one. */
export function readOptions(args: string[]): Asked | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      targets: { type: "string" },
      against: { type: "string" },
      rounds: { type: "string" },
      sessions: { type: "string" },
      "in-flight": { type: "string" },
      bytes: { type: "string" },
      "warm-up": { type: "string" },
      "warm-up-calls": { type: "string" },
      seconds: { type: "string" },
      "disjoint-ids": { type: "boolean", default: false },
      json: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  const mode = MODES.find(({ name }) => name === (positionals[0] ?? "call"));
  if (mode === undefined) throw new Error(`no mode is called ${positionals[0]}`);
  const defaults = { ...GENERAL, ...mode.defaults };
  return {
    mode,
    jsonFile: values.json,
    options: {
      targets: values.targets?.split(","),
      against: values.against ?? defaults.against,
      rounds: bounded("rounds", values.rounds, defaults.rounds, 20),
      sessions: bounded("sessions", values.sessions, defaults.sessions, 10_000),
      inFlight: bounded("in-flight", values["in-flight"], defaults.inFlight, 64),
      bytes: bounded("bytes", values.bytes, defaults.bytes, 1_000_000),
      warmUpSeconds: bounded("warm-up", values["warm-up"], defaults.warmUpSeconds, 120),
      warmUpCalls: bounded("warm-up-calls", values["warm-up-calls"], defaults.warmUpCalls, 1_000_000),
      seconds: bounded("seconds", values.seconds, defaults.seconds, 120),
      disjointIds: values["disjoint-ids"],
    },
  };
}

function bounded(name: string, text: string | undefined, fallback: number, most: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isInteger(value) || value < 0 || value > most) {
    throw new Error(`--${name} must be a whole number up to ${most}`);
  }
  return value;
}
