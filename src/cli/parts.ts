import type { Events } from "../events.ts";
import type { Log } from "../log.ts";
import type { Archive } from "../session-store/archive.ts";
import type { SwitchOptions, SwitchReport } from "../session-store/switch.ts";
import type { StoreTarget } from "../session-store/target.ts";

/** Where a command writes. */
export type Output = NodeJS.WritableStream & {
  isTTY?: boolean | undefined;
  columns?: number | undefined;
};

/** A command of the command line. Answers the process's exit code; throws what `runCommand` puts into words. */
export type Command = (args: string[], parts: CliParts) => Promise<number>;

/** A store that somebody named. `label` says where it is and holds no secret. */
export interface NamedStore {
  target: StoreTarget;
  label: string;
}

export interface OpenOptions {
  /** What every key begins with; undefined for that of the environment. */
  prefix: string | undefined;
  /** False when it is only read: a file store is then not taken from its gateway. */
  mayWrite: boolean;
}

/** What the commands work with: the process's own, or a test's. */
export interface CliParts {
  stdout: Output;
  stderr: Output;
  env: Readonly<Record<string, string | undefined>>;
  /** Aborts at Ctrl-C. A command then finishes what it has in hand. */
  signal: AbortSignal;
  /**
   * Reads a store URL, or finds the store of the environment for undefined. `flag` is who gave it, for the words of an
   * error. Throws a ConfigError.
   */
  readStore: (url: string | undefined, flag: string) => NamedStore;
  /** Opens a store as keys and values. */
  openArchive: (target: StoreTarget, options: OpenOptions) => Promise<Archive>;
  /** Moves gateways that serve from one store to another. */
  switchOver: (options: SwitchOptions) => Promise<SwitchReport>;
  events: Events;
  log: Log;
  /** Milliseconds since 1970. */
  now: () => number;
  version: string;
  /** Commands of other rooms, by name. */
  commands: Readonly<Record<string, Command>>;
}
