import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { KEY, OTHER_KEY } from "./start-gateway.ts";

/**
 * The built program, which `npm test` makes first. A test of the tests may name another build, one that is broken on
 * purpose.
 */
export const PROGRAM =
  process.env["E2E_PROGRAM"] ?? fileURLToPath(new URL("../../dist/main.js", import.meta.url));

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export type LogLine = Record<string, unknown>;

/** The real program in a process of its own. */
export interface SpawnedProgram {
  pid: number;
  /** What it has written so far. */
  stdout(): string;
  stderr(): string;
  /** Its log so far: all of standard output. */
  logs(): LogLine[];
  /** Resolves with the first log line, past or to come, that fits. Rejects when the program ends before. */
  logged(fits: (line: LogLine) => boolean): Promise<LogLine>;
  /** Resolves when it has ended and all it wrote was read. */
  exited: Promise<Exit>;
  signal(name: NodeJS.Signals): void;
  /** Ends it if it runs: SIGTERM, and SIGKILL when that does not help. Safe to call twice. */
  end(): Promise<void>;
}

export interface SpawnOptions {
  /** The whole environment, besides PATH and HOME. */
  env?: Record<string, string>;
  args?: readonly string[];
  /** Options of Node, before the script. */
  nodeArgs?: readonly string[];
  cwd?: string;
}

const END_MS = 10_000;

/** Runs the program. It finds neither this process's settings nor a developer's `.env`. */
export function spawnProgram({ env = {}, args = [], nodeArgs = [], cwd }: SpawnOptions = {}): SpawnedProgram {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is not there: run npm run build`);
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, [...nodeArgs, PROGRAM, ...args], {
    cwd: cwd ?? import.meta.dirname,
    env: { PATH, HOME, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  const waiting = new Set<() => void>();
  const wake = () => [...waiting].forEach((look) => look());
  child.stdout.setEncoding("utf8").on("data", (text: string) => ((stdout += text), wake()));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  let isOver = false;
  const exited = new Promise<Exit>((resolve) => {
    child.once("close", (code, signal) => ((isOver = true), wake(), resolve({ code, signal })));
  });
  const killOnExit = () => void child.kill("SIGKILL");
  process.once("exit", killOnExit);
  void exited.then(() => process.removeListener("exit", killOnExit));

  const logs = () =>
    stdout
      .slice(0, stdout.lastIndexOf("\n") + 1)
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as LogLine);

  async function end(): Promise<void> {
    if (isOver) return;
    child.kill("SIGTERM");
    const timer = setTimeout(killOnExit, END_MS);
    await exited;
    clearTimeout(timer);
  }
  return {
    pid: child.pid ?? 0,
    stdout: () => stdout,
    stderr: () => stderr,
    logs,
    logged: (fits) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const line = logs().find(fits);
          if (line === undefined && !isOver) return;
          waiting.delete(look);
          if (line !== undefined) resolve(line);
          else reject(new Error(`the program ended before it said so: ${stdout}${stderr}`));
        };
        waiting.add(look);
        look();
      }),
    exited,
    signal: (name) => void child.kill(name),
    end,
  };
}

export interface SpawnedGateway extends SpawnedProgram {
  /** Base URL, without a slash at the end. */
  url: string;
  port: number;
  instanceId: string;
}

/** Runs the program on a free port of 127.0.0.1 with the keys of `start-gateway.ts`; resolves when it listens. */
export async function spawnGateway({
  env = {},
  command,
  ...options
}: Omit<SpawnOptions, "args"> & { command?: readonly string[] } = {}): Promise<SpawnedGateway> {
  const settings = {
    HOST: "127.0.0.1",
    MCP_API_KEY: KEY,
    MCP_API_KEYS: `other=${OTHER_KEY}`,
    DRAIN_SECONDS: "1",
  };
  const args = ["--port", "0", ...(command === undefined ? [] : ["--", ...command])];
  const program = spawnProgram({ ...options, env: { ...settings, ...env }, args });
  const { port, instance } = await program.logged(({ message }) => message === "gateway listening");
  return {
    ...program,
    url: `http://127.0.0.1:${Number(port)}`,
    port: Number(port),
    instanceId: String(instance),
  };
}

/** Runs the program to its end, which it is given some seconds for. */
export async function runProgram(options: SpawnOptions): Promise<Exit & { stdout: string; stderr: string }> {
  const program = spawnProgram(options);
  const timer = setTimeout(() => void program.end(), END_MS);
  const exit = await program.exited;
  clearTimeout(timer);
  return { ...exit, stdout: program.stdout(), stderr: program.stderr() };
}
