import { parseArgs } from "node:util";

export interface Options {
  mode: "call" | "idle" | "profile";
  /** Undefined: those that the mode is made for. */
  targets: string[] | undefined;
  /** The target that the others are compared with, round by round. */
  against: string;
  rounds: number;
  sessions: number;
  inFlight: number;
  bytes: number;
  warmUpSeconds: number;
  warmUpCalls: number;
  seconds: number;
  disjointIds: boolean;
  jsonFile: string | undefined;
}

export const HELP = `npm run bench -- [call | idle | profile] [options]

  --targets a,b      sse-echo, sse-bridge, express-echo, gateway, gateway-express,
                     gateway-unwatched, gateway-watched, gateway-builtin
  --against NAME     what the ratios of "call" compare with (sse-bridge)
  --rounds N         (3; profile 1)
  --sessions N       (32; idle 2000)
  --in-flight N      calls in flight in each session (1)
  --bytes N          length of the echoed text, at least 32 (32)
  --warm-up S        seconds before anything is counted (8)
  --warm-up-calls N  and at least so many calls: for slow shapes, where seconds are few calls (0)
  --seconds S        seconds counted (4)
  --disjoint-ids     ids of its own for each session: shows what colliding ids hide
  --json FILE        writes the figures
`;

/** Reads the arguments; undefined when only the help is asked for. Every number has a bound, so that a run has one. */
export function readOptions(args: string[]): Options | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      targets: { type: "string" },
      against: { type: "string", default: "sse-bridge" },
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
  const mode = positionals[0] ?? "call";
  if (mode !== "call" && mode !== "idle" && mode !== "profile") throw new Error(`no mode is called ${mode}`);
  return {
    mode,
    targets: values.targets?.split(","),
    against: values.against,
    rounds: bounded("rounds", values.rounds, mode === "profile" ? 1 : 3, 20),
    sessions: bounded("sessions", values.sessions, mode === "idle" ? 2000 : 32, 9000),
    inFlight: bounded("in-flight", values["in-flight"], 1, 64),
    bytes: bounded("bytes", values.bytes, 32, 1_000_000),
    warmUpSeconds: bounded("warm-up", values["warm-up"], 8, 120),
    warmUpCalls: bounded("warm-up-calls", values["warm-up-calls"], 0, 1_000_000),
    seconds: bounded("seconds", values.seconds, 4, 120),
    disjointIds: values["disjoint-ids"],
    jsonFile: values.json,
  };
}

function bounded(name: string, text: string | undefined, fallback: number, most: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isInteger(value) || value < 0 || value > most) {
    throw new Error(`--${name} must be a whole number up to ${most}`);
  }
  return value;
}
