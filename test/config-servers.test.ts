import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { loadConfig } from "../src/config.ts";
import { ConfigError } from "../src/errors.ts";

function problemsOf(...args: Parameters<typeof loadConfig>): readonly string[] {
  try {
    loadConfig(...args);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

/** Writes a servers file, gone with the test, and tells its path. */
async function serversFile(servers: object): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "config-servers-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  const path = join(directory, "mcp.json");
  await writeFile(path, JSON.stringify({ mcpServers: servers }));
  return path;
}

const REMOTE = { MCP_SERVER_URL: "https://mcp.example.com/mcp" };

describe("the one server", () => {
  it("is the built-in one when nothing is set", () => {
    expect(loadConfig({})).toMatchObject({
      servers: [{ name: "default", kind: "builtin", model: "per-session" }],
      serversFile: undefined,
      scopes: undefined,
    });
  });

  it("gets the settings of servers", () => {
    const env = {
      MCP_SERVER_COMMAND: "x",
      MCP_SERVER_MODEL: "pool",
      POOL_SIZE: "5",
      MCP_SERVER_DISCOVERY: "translate",
      SERVER_IDLE_SECONDS: "0",
      MAX_LINE_BYTES: "2048",
      MAX_CHILDREN: "7",
      SPAWN_CONCURRENCY: "3",
      SERVER_START_SECONDS: "9",
      SERVER_RESTARTS: "1",
    };
    const settings = {
      model: "pool",
      discovery: "translate",
      poolSize: 5,
      idleSeconds: 0,
      maxLineBytes: 2048,
      maxChildren: 7,
      spawnConcurrency: 3,
      startSeconds: 9,
      restarts: 1,
    };
    const config = loadConfig(env);
    expect(config.serverDefaults).toEqual({ settings, maxOutboxBytes: 8 * 1024 * 1024 });
    expect(config.servers).toMatchObject([{ name: "default", ...settings }]);
  });

  it("SEC-41 sees the variables that are listed and set, and never the gateway's own keys", () => {
    const key = "k".repeat(40);
    const env = {
      MCP_SERVER_COMMAND: "x",
      MCP_SERVER_ENV: "A_TOKEN,UNSET,MCP_API_KEY,MCP_API_KEYS",
      A_TOKEN: "value",
      MCP_API_KEY: key,
      MCP_API_KEYS: `a=${key}a`,
    };
    expect(loadConfig(env).servers).toMatchObject([{ env: { A_TOKEN: "value" }, secrets: ["value"] }]);
    expect(Object.keys((loadConfig(env).servers[0] as { env: object }).env)).toEqual(["A_TOKEN"]);
  });

  it("is remote when a URL is set, with headers as lines or as JSON", () => {
    const headers = { Authorization: "Bearer canary", "X-Team": "a: b" };
    for (const text of [
      "Authorization: Bearer ${TOKEN}\n\n X-Team:a: b \r\n",
      `{"Authorization":"Bearer \${env:TOKEN}","X-Team":"a: b"}`,
    ]) {
      const env = { ...REMOTE, MCP_SERVER_HEADERS: text, TOKEN: "canary", MCP_SERVER_TRANSPORT: "sse" };
      const { servers, warnings } = loadConfig(env);
      expect(servers).toMatchObject([
        { name: "default", kind: "remote", url: REMOTE.MCP_SERVER_URL, headers, transport: "sse" },
      ]);
      expect(warnings.join()).not.toContain("canary");
    }
    expect(loadConfig({}, { url: "http://localhost:1/sse" }).servers).toMatchObject([
      { kind: "remote", url: "http://localhost:1/sse", transport: "auto", headers: {} },
    ]);
    expect(loadConfig({ ...REMOTE, MCP_SERVER_TRANSPORT: "http" }).servers).toMatchObject([
      { transport: "streamable" },
    ]);
  });

  it.each([
    [
      { MCP_SERVER_HEADERS: "canary" },
      "MCP_SERVER_HEADERS must be lines of Name: value, or a JSON object of texts.",
    ],
    [
      { MCP_SERVER_HEADERS: `{"a":"canary"` },
      "MCP_SERVER_HEADERS must be lines of Name: value, or a JSON object of texts.",
    ],
    [{ MCP_SERVER_HEADERS: `{"a":5}` }, "MCP_SERVER_HEADERS, a must be text in double quotes."],
    [{ MCP_SERVER_HEADERS: "A: ${UNSET}canary" }, "MCP_SERVER_HEADERS, A uses ${UNSET}, which is not set."],
    [{ MCP_SERVER_HEADERS: "Host: canary" }, "MCP_SERVER_HEADERS, Host is set by the gateway itself."],
    [{ MCP_SERVER_URL: "canary" }, "MCP_SERVER_URL must be a URL that begins with http:// or https://."],
    [{ MCP_SERVER_URL: "http://canary:x@y" }, "MCP_SERVER_URL must hold no user or password: use headers."],
    [{ MCP_SERVER_TRANSPORT: "canary" }, "MCP_SERVER_TRANSPORT must be one of auto, http, sse."],
  ])("cannot be remote with %j", (env, problem) => {
    expect(problemsOf({ ...REMOTE, ...env })).toEqual([problem]);
  });

  it("SEC-20 names the flag, not the URL that it was given", () => {
    expect(problemsOf({}, { url: "canary" })).toEqual([
      "--url must be a URL that begins with http:// or https://.",
    ]);
  });

  it("tells what is set for a server of another kind", () => {
    const env = { MCP_SERVER_HEADERS: "A: b", MCP_SERVER_TRANSPORT: "sse", MCP_SERVER_ENV: "A" };
    const told = loadConfig(env).warnings.filter((line) => line.includes("does nothing"));
    expect(told.map((line) => line.split(" ")[0])).toEqual(Object.keys(env));
    expect(loadConfig({ MCP_SERVER_ENV: "A" }, { command: ["x"] }).warnings.join()).not.toContain("nothing");
  });
});

describe("several servers", () => {
  it("are read from the file that a setting or the command line names", async () => {
    const path = await serversFile({ a: { command: "x" }, b: { ...{ url: "http://x/" } } });
    const file = relative(process.cwd(), path);
    for (const config of [loadConfig({ MCP_SERVERS_FILE: file }), loadConfig({}, { config: file })]) {
      expect(config.servers.map(({ name, kind }) => [name, kind])).toEqual([
        ["a", "stdio"],
        ["b", "remote"],
      ]);
      expect(config.serversFile, "it is found again from wherever").toBe(path);
    }
  });

  it("have the settings as defaults", async () => {
    const path = await serversFile({ a: { command: "x" }, b: { command: "x", limits: { maxChildren: 2 } } });
    const { servers } = loadConfig({ MCP_SERVERS_FILE: path, MAX_CHILDREN: "7", MCP_SERVER_MODEL: "shared" });
    expect(servers).toMatchObject([
      { maxChildren: 7, model: "shared" },
      { maxChildren: 2, model: "shared" },
    ]);
  });

  it("tell their problems together with all others", async () => {
    const path = await serversFile({ a: { command: "${UNSET}" }, b: {} });
    expect(problemsOf({ PORT: "x", MCP_SERVERS_FILE: path })).toEqual([
      expect.stringMatching(/^PORT/),
      "MCP_SERVERS_FILE, server a: command uses ${UNSET}, which is not set.",
      "MCP_SERVERS_FILE, server b: command or url is missing.",
    ]);
    expect(problemsOf({ MCP_SERVERS_FILE: `${path}.canary` })).toEqual([
      "MCP_SERVERS_FILE: there is no such file.",
    ]);
  });

  it("are scoped per caller", async () => {
    const path = await serversFile({ a: { command: "x" }, b: { command: "x" } });
    const env = { MCP_SERVERS_FILE: path, MCP_API_KEYS: `alice=${"k".repeat(40)}` };
    const { scopes } = loadConfig({ ...env, MCP_KEY_SCOPES: "alice=a" });
    expect(scopes?.get("alice")?.mayUseServer("b")).toBe(false);
    expect(problemsOf({ ...env, MCP_KEY_SCOPES: "bob=a" })).toEqual([
      expect.stringContaining("alice is missing"),
    ]);
    expect(problemsOf({ MCP_KEY_SCOPES: "bob=a" })).toEqual([expect.stringContaining("default is missing")]);
  });
});

describe("more than one way to name servers", () => {
  it.each([
    [{ MCP_SERVERS_FILE: "f", MCP_SERVER_COMMAND: "c" }, {}, "MCP_SERVERS_FILE and MCP_SERVER_COMMAND"],
    [{ MCP_SERVERS_FILE: "f", ...REMOTE }, {}, "MCP_SERVERS_FILE and MCP_SERVER_URL"],
    [{ ...REMOTE, MCP_SERVER_COMMAND: "c" }, {}, "MCP_SERVER_URL and MCP_SERVER_COMMAND"],
    [{}, { config: "f", command: ["c"] }, "--config and a command behind --"],
    [{}, { config: "f", url: "http://x/" }, "--config and --url"],
    [{}, { url: "http://x/", command: ["c"] }, "--url and a command behind --"],
  ])("is refused: %j %j", (env, flags, words) => {
    expect(problemsOf(env, flags)).toEqual([
      `${words} cannot stand together: give a file of servers, or one server.`,
    ]);
  });

  it("is no question between the command line and the environment: the command line wins", async () => {
    const env = { MCP_SERVERS_FILE: "missing", MCP_SERVER_COMMAND: "c", ...REMOTE };
    const path = await serversFile({ a: { command: "x" } });
    expect(loadConfig(env, { command: ["b"] }).servers).toMatchObject([{ command: "b" }]);
    expect(loadConfig(env, { url: "http://y/" }).servers).toMatchObject([{ url: "http://y/" }]);
    expect(loadConfig(env, { config: path }).servers).toMatchObject([{ name: "a" }]);
  });
});
