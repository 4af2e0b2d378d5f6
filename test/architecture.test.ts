import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const SRC = join(import.meta.dirname, "../src");

/** Who may import whom, beside the own room. The roof may see all; the floor may be seen by all. */
const MAY_SEE: Record<string, string[]> = {
  "protocol/": [],
  "session-store/": [],
  "relay/": ["protocol/"],
  "upstream/": ["protocol/"],
  "session/": ["protocol/", "session-store/session-store.ts", "upstream/upstream.ts", "relay/relay.ts"],
  "http/": ["protocol/", "session/"],
  "keys/": [],
  "audit/": [],
  "telemetry/": ["protocol/"],
  "cli/": ["session-store/", "keys/", "audit/"],
};
const FLOOR = ["errors.ts", "events.ts", "log.ts"];
const ROOF = [
  "main.ts",
  "gateway.ts",
  "open-relay.ts",
  "config.ts",
  "settings.ts",
  "api-keys.ts",
  "banner.ts",
  "callers.ts",
  "command-line.ts",
  "commands.ts",
  "config-servers.ts",
  "config-store.ts",
  "config-watch.ts",
  "greet-store.ts",
  "jsonc.ts",
  "key-scopes.ts",
  "limits.ts",
  "nearest-name.ts",
  "open-store.ts",
  "readings.ts",
  "server-config.ts",
  "server-entry.ts",
  "server-parts.ts",
  "servers.ts",
  "servers-file.ts",
  "setting-aliases.ts",
  "variables.ts",
  "watch-file.ts",
  "watch-keys.ts",
  "watch-relay.ts",
  "watch-servers.ts",
  "watching.ts",
];

/** The one home of each package, so that changing it changes one place. */
const HOME: Record<string, string[]> = {
  "@modelcontextprotocol/sdk": ["upstream/builtin.ts", "upstream/demo-"],
  "@opentelemetry/api": ["telemetry/tracing"],
  "@upstash/redis": ["session-store/upstash", "relay/upstash"],
  cors: ["http/app.ts"],
  dotenv: ["main.ts"],
  "eventsource-parser": ["upstream/remote"],
  express: ["http/app.ts"],
  ioredis: ["session-store/redis", "relay/redis"],
  "lru-cache": ["session/", "http/authenticate.ts", "relay/"],
  "prom-client": ["telemetry/"],
  pino: ["log.ts"],
  "pino-pretty": ["log.ts"],
  undici: ["session-store/upstash", "relay/http", "relay/upstash", "upstream/remote"],
  zod: ["settings.ts", "config.ts", "server-entry.ts", "upstream/demo-"],
};

/** Tables, which a reader looks things up in and does not read. */
const TABLES = ["errors.ts", "settings.ts"];
const MAX_LINES = 300;

const files = readdirSync(SRC, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.replaceAll("\\", "/"));
const text = (file: string) => readFileSync(join(SRC, file), "utf8");
const importsOf = (file: string) =>
  [...text(file).matchAll(/(?:from |import |import\()"([^"]+)"/g)].map((match) => match[1] as string);
/** What is loaded with a file: neither types nor what it loads when it needs it. */
const loadedWith = (file: string) =>
  [...text(file).matchAll(/^(?:import|export) (?!type )(?:[^;]*? from )?"([^"]+)"/gm)].map(
    (match) => match[1] as string,
  );
const packageOf = (name: string) =>
  name
    .split("/")
    .slice(0, name.startsWith("@") ? 2 : 1)
    .join("/");
const inSrc = (file: string, name: string) =>
  relative(SRC, join(SRC, dirname(file), name)).replaceAll("\\", "/");
const roomOf = (file: string) => Object.keys(MAY_SEE).find((room) => file.startsWith(room));

describe("the house", () => {
  it.each(files)("%s sees only what it may see", (file) => {
    const room = roomOf(file);
    const seen = importsOf(file)
      .filter((name) => name.startsWith("."))
      .map((name) => inSrc(file, name));
    if (room === undefined) {
      expect([...ROOF, ...FLOOR], "every file has a room, or is of the roof or the floor").toContain(file);
      if (FLOOR.includes(file)) expect(seen).toEqual([]);
      return;
    }
    const allowed = [room, ...FLOOR, ...(MAY_SEE[room] ?? [])];
    expect(seen.filter((other) => !allowed.some((may) => other.startsWith(may)))).toEqual([]);
  });

  it("gives each package one home", () => {
    for (const file of files) {
      for (const name of importsOf(file).filter((imported) => !/^(\.|node:)/.test(imported))) {
        const homes = HOME[packageOf(name)] ?? [];
        expect(
          homes.some((home) => file.startsWith(home)),
          `${file} imports ${name}`,
        ).toBe(true);
      }
    }
  });

  it("loads at start no package but those that every gateway needs", () => {
    const loaded = new Set(["main.ts", "gateway.ts"]);
    const packages = new Set<string>();
    for (const file of loaded) {
      for (const name of loadedWith(file)) {
        if (name.startsWith(".")) loaded.add(inSrc(file, name));
        else if (!name.startsWith("node:")) packages.add(packageOf(name));
      }
    }
    expect([...packages].toSorted()).toEqual([
      "@opentelemetry/api",
      "cors",
      "dotenv",
      "express",
      "lru-cache",
      "pino",
      "zod",
    ]);
  });

  it("keeps its rooms small", () => {
    for (const file of files.filter((name) => !TABLES.includes(name))) {
      expect(text(file).split("\n").length, file).toBeLessThanOrEqual(MAX_LINES);
    }
  });

  it("reads the environment in main.ts alone, and ends the process nowhere else", () => {
    for (const file of files.filter((name) => name !== "main.ts")) {
      expect(text(file), file).not.toMatch(/process\.(env\b|exit\()/);
    }
  });

  it("SEC-45 starts no shell", () => {
    for (const file of files)
      expect(text(file), file).not.toMatch(/shell: *true|\bexec(Sync|File)?\(.*(sh|bash)\b/);
  });

  it("has no name that says only that it helps", () => {
    for (const file of files) expect(file).not.toMatch(/(manager|handler|service|helper|util|base)/i);
  });
});
