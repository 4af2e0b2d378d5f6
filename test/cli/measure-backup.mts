/**
 * Makes 100,000 records in a Redis, backs them up and restores them to another, each in a process of its own, and prints
 * what that took: `npx tsx test/cli/measure-backup.mts [records] [file name]`.
 */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { runCommand } from "../../src/cli/run.ts";
import { NO_EVENTS } from "../../src/events.ts";
import { createLog } from "../../src/log.ts";
import { encodeRecord } from "../../src/session-store/record-codec.ts";
import { switchOver } from "../../src/session-store/switch.ts";
import { aRecord } from "../session-store/records.ts";
import { eventually } from "../support/eventually.ts";
import { startRedis } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { realStores } from "./real-parts.ts";

const CHILD = "as-a-child";
const AT_ONCE = 1000;

async function child([store = "", ...args]: string[]): Promise<void> {
  process.exitCode = await runCommand(args, {
    stdout: process.stdout,
    stderr: process.stderr,
    env: {},
    signal: new AbortController().signal,
    ...realStores(store),
    switchOver,
    events: NO_EVENTS,
    log: createLog("silent"),
    now: Date.now,
    version: "0",
    commands: {},
  });
  process.stderr.write(`peak ${process.resourceUsage().maxRSS}\n`);
}

/** Runs a command on a store in a process of its own. Its seconds, its peak of resident memory, its result. */
async function measured(store: string, args: string[]) {
  const startedAt = performance.now();
  const process_ = spawn(process.execPath, ["--import", "tsx", import.meta.filename, CHILD, store, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  process_.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  process_.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  const [code] = (await once(process_, "close")) as [number];
  if (code !== 0) throw new Error(`${args[0]} ended with ${code}: ${err}${out}`);
  const seconds = (performance.now() - startedAt) / 1000;
  const peakMiB = Math.round(Number(/peak (\d+)/.exec(err)?.[1]) / 1024);
  return { seconds: Number(seconds.toFixed(1)), peakMiB, said: out.trim().split("\n").at(-1) };
}

/** Begins a migration again and again and kills it at a random moment, then lets it end. What it said in the end. */
async function migrateKilled(store: string, to: string, path: string, kills: number) {
  const args = ["migrate", "--to", to, "--batch", "100", "--resume", path, "--json"];
  const seen: number[] = [];
  for (let killed = 0; killed < kills; killed++) {
    const before = seen.at(-1) ?? 0;
    const child_ = spawn(process.execPath, ["--import", "tsx", import.meta.filename, CHILD, store, ...args], {
      stdio: "ignore",
    });
    const closed = once(child_, "close");
    try {
      await eventually(async () => (await seenIn(path)) > before + 1000, 30_000);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 500));
    } finally {
      child_.kill("SIGKILL");
      await closed;
    }
    seen.push(await seenIn(path));
  }
  return { killedAfter: seen, ...(await measured(store, args)) };
}

const seenIn = async (path: string): Promise<number> =>
  (JSON.parse(await readFile(path, "utf8")) as { counts: { seen: number } }).counts.seen;

async function fill(raw: RespConnection, count: number): Promise<void> {
  for (let at = 0; at < count; at += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - at) }, (_, index) => {
      const record = aRecord({
        id: randomUUID(),
        caller: `caller-${(at + index) % 50}`,
        initialize: {
          protocolVersion: "2025-06-18",
          capabilities: { roots: { listChanged: true }, sampling: {} },
          clientInfo: { name: "client", version: "1.0.0" },
        },
      });
      const ttl = 600_000 + (((at + index) * 7919) % 3_000_000);
      return ["SET", `mcp:session:${record.id}`, encodeRecord(record), "PX", `${ttl}`];
    });
    await raw.send(some);
  }
}

/** When each key expires, in milliseconds since 1970, by the server's own clock. */
async function expiries(raw: RespConnection): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  let cursor = "0";
  do {
    const [reply] = await raw.send([["SCAN", cursor, "COUNT", `${AT_ONCE}`]]);
    if (reply?.kind !== "array") throw new Error("SCAN was refused");
    const [next, list] = reply.items;
    cursor = next?.kind === "bulk" ? String(next.bytes) : "0";
    const keys =
      list?.kind === "array"
        ? list.items.map((item) => (item.kind === "bulk" ? String(item.bytes) : ""))
        : [];
    const times = await raw.send(keys.map((key) => ["PEXPIRETIME", key]));
    keys.forEach((key, at) => {
      const time = times[at];
      if (time?.kind === "integer") found.set(key, Number(time.digits));
    });
  } while (cursor !== "0");
  return found;
}

async function main([records = "100000", name = "backup.ndjson.gz"]: string[]): Promise<void> {
  const one = await startRedis(["--databases", "1"]);
  const other = await startRedis(["--databases", "1"]);
  const directory = await mkdtemp(join(tmpdir(), "measure-"));
  const raws = await Promise.all([openResp(one.url), openResp(other.url)]);
  try {
    const [from, to] = raws;
    await fill(from, Number(records));
    const file = join(directory, name);
    const tell = (what: string, figures: object) =>
      process.stdout.write(`${what} ${JSON.stringify(figures)}\n`);
    tell(
      "idle",
      await measured(one.url, ["backup", "--help"]).then(({ seconds, peakMiB }) => ({ seconds, peakMiB })),
    );
    tell("backup", await measured(one.url, ["backup", "--out", file, "--json"]));
    tell("file", { bytes: (await stat(file)).size });
    tell("restore", await measured(other.url, ["restore", "--in", file, "--json"]));
    tell("verify", await measured(one.url, ["verify", "--to", other.url, "--json"]));
    const [before, after] = [await expiries(from), await expiries(to)];
    const errors = [...before].map(([key, time]) => Math.abs((after.get(key) ?? Infinity) - time));
    const largest = errors.reduce((most, each) => Math.max(most, each), 0);
    tell("expiries", { keys: before.size, restored: after.size, largestErrorMs: largest });
    await to.send([["FLUSHALL"]]);
    tell("migrate, killed 3 times", await migrateKilled(one.url, other.url, join(directory, "p.json"), 3));
    tell("verify", await measured(one.url, ["verify", "--to", other.url]));
  } finally {
    for (const raw of raws) raw.close();
    await Promise.all([one.stop(), other.stop()]);
    await rm(directory, { recursive: true, force: true });
  }
}

const [, , ...args] = process.argv;
await (args[0] === CHILD ? child(args.slice(1)) : main(args));
