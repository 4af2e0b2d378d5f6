import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { StderrTail } from "./stderr-tail.ts";

/** How a child ended: its exit code, or the signal that ended it. */
export interface ChildExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface ChildOptions {
  command: string;
  args: readonly string[];
  /** The whole environment; nothing is inherited beside it. */
  env: Readonly<Record<string, string>>;
  cwd?: string | undefined;
  log: Log;
  /** Values that must not reach the log when the child prints them. */
  secrets?: readonly string[];
  /** How long each step of ending it may take before the next one, in milliseconds. */
  graceMs?: number;
}

type PipedProcess = ChildProcessByStdio<Writable, Readable, Readable>;

const GRACE_MS = 2000;
/** What is killed and still there after this waits for a parent that does not look after it, or is out of our reach. */
const REAP_MS = 250;
const POLL_MS = 15;

/** Starts a process in a group of its own. Rejects with `upstream_start_failed`; the cause is for the log only. */
export async function openChild(options: ChildOptions): Promise<Child> {
  try {
    const { command, args, env, cwd } = options;
    const spawned = spawn(command, args, {
      shell: false,
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...env },
      cwd,
    });
    await new Promise<void>((resolve, reject) => {
      spawned.once("spawn", resolve);
      spawned.once("error", reject);
    });
    return new Child(spawned, options);
  } catch (cause) {
    throw new GatewayError("upstream_start_failed", { cause });
  }
}

/** One child process with all that it starts, which is ended with it. */
export class Child {
  readonly pid: number;
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves when the process itself is gone; what it started may live on for a while. */
  readonly exited: Promise<ChildExit>;
  /** Resolves when nothing of its group is left. */
  readonly gone: Promise<void>;
  readonly #stderr: StderrTail;
  readonly #graceMs: number;
  #closed: Promise<void> | undefined;
  #groupEnd: Promise<void> | undefined;

  constructor(spawned: PipedProcess, { log, secrets = [], graceMs = GRACE_MS }: ChildOptions) {
    this.pid = spawned.pid as number;
    this.stdin = spawned.stdin;
    this.stdout = spawned.stdout;
    this.#graceMs = graceMs;
    this.#stderr = new StderrTail(spawned.stderr, { log, secrets });
    // EPIPE and ECONNRESET say that the process ends; its exit says the rest.
    this.stdin.on("error", () => {});
    this.stdout.on("error", () => {});
    this.exited = new Promise((resolve) => {
      spawned.once("exit", (code, signal) => resolve({ code, signal }));
    });
    const stderrClosed = new Promise<void>((resolve) => spawned.stderr.once("close", resolve));
    this.gone = this.exited.then(async () => {
      await this.#endGroup();
      // A process that left the group may hold the pipes for ever, and with them our own process.
      await within(REAP_MS, stderrClosed);
      spawned.stderr.destroy();
      this.stdin.destroy();
    });
  }

  /** The last of what it said on stderr: for the operator's log, never for clients. */
  stderrTail(characters: number): string {
    return this.#stderr.text(characters);
  }

  /** Asks it to end by ending its input, then ends the whole group: SIGTERM, then SIGKILL. Safe to call twice. */
  close(): Promise<void> {
    this.#closed ??= this.#askThenKill();
    return this.#closed;
  }

  /** As `close`, without asking first. */
  async kill(): Promise<void> {
    void this.#endGroup();
    await this.gone;
  }

  /** Kills its group at once, for a process that has no time left to wait. */
  killNow(): void {
    this.#signalGroup("SIGKILL");
  }

  async #askThenKill(): Promise<void> {
    this.stdin.end();
    await within(this.#graceMs, this.exited);
    await this.kill();
  }

  #endGroup(): Promise<void> {
    this.#groupEnd ??= this.#endGroupInSteps();
    return this.#groupEnd;
  }

  async #endGroupInSteps(): Promise<void> {
    if (!this.#signalGroup("SIGTERM") || (await this.#groupLeaves(this.#graceMs))) return;
    this.#signalGroup("SIGKILL");
    await this.#groupLeaves(REAP_MS);
  }

  /** False when there is no such group any more; from then on its number may be someone else's. */
  #signalGroup(signal: NodeJS.Signals | 0): boolean {
    try {
      return process.kill(-this.pid, signal);
    } catch {
      return false;
    }
  }

  /** The exit of a grandchild raises no event with us, so we have to look. */
  async #groupLeaves(ms: number): Promise<boolean> {
    const deadline = performance.now() + ms;
    while (performance.now() < deadline) {
      await sleep(POLL_MS);
      if (!this.#signalGroup(0)) return true;
    }
    return false;
  }
}

/** Waits until `event` or for so many milliseconds, and leaves no timer behind. */
async function within(ms: number, event: Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  await Promise.race([event, sleep(ms, undefined, { signal: timer.signal })]);
  timer.abort();
}
