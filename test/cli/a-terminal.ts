import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";

import { afterEach } from "vitest";

import type { CliParts } from "../../src/cli/parts.ts";
import { runCommand } from "../../src/cli/run.ts";
import { ConfigError } from "../../src/errors.ts";
import type { GatewayEvent } from "../../src/events.ts";
import { createLog } from "../../src/log.ts";
import type { Archive, Entry } from "../../src/session-store/archive.ts";
import { encodeRecord } from "../../src/session-store/record-codec.ts";
import type { SessionRecord } from "../../src/session-store/session-store.ts";
import { switchOver } from "../../src/session-store/switch.ts";
import { aRecord } from "../session-store/records.ts";

/** In the URL of every store and in the environment: no output may hold it. */
export const CANARY = "canary-5f2d9";

/** A terminal before which somebody types commands. */
export interface Terminal {
  run(...args: string[]): Promise<number>;
  out(): string;
  err(): string;
  clear(): void;
  /** Presses Ctrl-C. */
  interrupt(): void;
  events: GatewayEvent[];
  parts: CliParts;
}

function sink() {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  return { stream, bytes: () => Buffer.concat(chunks), clear: () => void (chunks.length = 0) };
}

/** `stores` by name: `redis://:secret@<name>` opens one; "env" is that of the environment. */
export function aTerminal(
  stores: Record<string, Archive>,
  {
    now = Date.now,
    isTTY,
    over = {},
  }: { now?: () => number; isTTY?: boolean; over?: Partial<CliParts> } = {},
): Terminal {
  const stdout = sink();
  const stderr = sink();
  const control = new AbortController();
  const events: GatewayEvent[] = [];
  const parts: CliParts = {
    stdout: stdout.stream,
    stderr: Object.assign(stderr.stream, isTTY === undefined ? {} : { isTTY, columns: 80 }),
    env: { OTHER: urlOf("other"), EMPTY: "", MCP_API_KEY: CANARY },
    signal: control.signal,
    readStore: (url, flag) => {
      if (url === undefined)
        return { target: { kind: "redis", url: urlOf("env") }, label: "redis://env:6379" };
      if (url === "memory") return { target: { kind: "memory" }, label: "memory" };
      if (!URL.canParse(url)) throw new ConfigError([`${flag} is not a store URL.`]);
      return { target: { kind: "redis", url }, label: `redis://${new URL(url).hostname}:6379` };
    },
    openArchive: async (target) => {
      const name = target.kind === "redis" ? new URL(target.url).hostname : "";
      const store = stores[name];
      if (!store) throw new Error(`the test has no store ${name}`);
      return store;
    },
    switchOver,
    events: { emit: (event) => void events.push(event) },
    log: createLog("silent"),
    now,
    version: "1.2.3",
    commands: {},
    ...over,
  };
  return {
    run: (...args) => runCommand(args, parts),
    out: () => stdout.bytes().toString(),
    err: () => stderr.bytes().toString(),
    clear: () => {
      stdout.clear();
      stderr.clear();
    },
    interrupt: () => control.abort(),
    events,
    parts,
  };
}

export const urlOf = (name: string): string => `redis://:${CANARY}@${name}`;

/** A record as an entry. */
export const aSession = (over: Partial<SessionRecord> = {}, ttlMs = 60_000): Entry & { value: string } => {
  const record = aRecord(over);
  return { key: `session:${record.id}`, value: encodeRecord(record), ttlMs };
};

export const aHash = (
  key: string,
  fields: Record<string, string> = { field: "ä" },
  ttlMs = 60_000,
): Entry => ({
  key,
  value: new Map(Object.entries(fields).map(([name, text]) => [name, Buffer.from(text)])),
  ttlMs,
});

const directories: string[] = [];
afterEach(() => directories.splice(0).forEach((path) => rmSync(path, { recursive: true, force: true })));

/** A directory that is gone after the test. */
export function aDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "cli-test-"));
  directories.push(path);
  return path;
}
