import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import type { ServerConfig, ServerDefaults } from "../src/server-config.ts";
import { loadServersFile, readServersFile } from "../src/servers-file.ts";

const DEFAULTS: ServerDefaults = {
  settings: {
    model: "per-session",
    idleSeconds: 300,
    discovery: "fallback",
    poolSize: 2,
    maxLineBytes: 4096,
    maxChildren: 100,
    spawnConcurrency: 4,
    startSeconds: 60,
    restarts: 3,
  },
  maxOutboxBytes: 65_536,
};
const ENV = { TOKEN: "canary-of-token", HOST_NAME: "mcp.example.com" };

const read = (servers: object, env: NodeJS.ProcessEnv = ENV) =>
  readServersFile(JSON.stringify({ mcpServers: servers }), env, DEFAULTS);
const problemsOf = (entry: unknown): string[] => read({ one: entry } as object).problems;
const serverOf = (entry: object): ServerConfig => {
  const { servers, problems } = read({ one: entry });
  expect(problems).toEqual([]);
  return servers[0] as ServerConfig;
};

describe("what everybody's mcp.json says", () => {
  it("reads a command with all that belongs to it", () => {
    const entry = { command: "npx", args: ["-y", "server"], env: { A: "1", B: "${TOKEN}" }, cwd: "/srv" };
    expect(serverOf(entry)).toEqual({
      name: "one",
      ...DEFAULTS.settings,
      kind: "stdio",
      command: "npx",
      args: ["-y", "server"],
      cwd: "/srv",
      env: { A: "1", B: "canary-of-token" },
      secrets: ["canary-of-token"],
    });
    expect(serverOf({ type: "stdio", command: "x" })).toMatchObject({ args: [], env: {}, cwd: undefined });
  });

  it("reads a URL with headers", () => {
    const entry = { url: "https://${HOST_NAME}/mcp", headers: { Authorization: "Bearer ${TOKEN}" } };
    expect(serverOf(entry)).toEqual({
      name: "one",
      ...DEFAULTS.settings,
      kind: "remote",
      url: "https://mcp.example.com/mcp",
      headers: { Authorization: "Bearer canary-of-token" },
      transport: "auto",
    });
  });

  it.each([
    [{ url: "http://x/" }, "auto"],
    [{ serverUrl: "http://x/" }, "auto"],
    [{ httpUrl: "http://x/" }, "streamable"],
    [{ type: "http", url: "http://x/" }, "streamable"],
    [{ type: "streamable-http", url: "http://x/" }, "streamable"],
    [{ type: "streamableHttp", url: "http://x/" }, "streamable"],
    [{ type: "SSE", url: "http://x/" }, "sse"],
    [{ transport: "sse", serverUrl: "http://x/" }, "sse"],
    [{ transportType: "streamable_http", url: "http://x/" }, "streamable"],
  ])("understands %j", (entry, transport) => {
    expect(serverOf(entry)).toMatchObject({ kind: "remote", url: "http://x/", transport });
  });

  it("understands VS Code's name for the list, comments, and servers that are off", () => {
    const text = `{
      // of the editor
      "servers": {
        "a": { "type": "stdio", "command": "x", },
        "off": { "command": "\${UNSET}", "disabled": true },
        "on": { "command": "y", "disabled": false },
      },
      "$schema": "https://example.com"
    }`;
    const file = readServersFile(text, {}, DEFAULTS);
    expect(file.servers.map(({ name }) => name)).toEqual(["a", "on"]);
    expect(file).toMatchObject({ problems: [], warnings: [] });
  });

  it("takes what is ours: the model, the idle time, limits, and the built-in server", () => {
    const limits = {
      maxChildren: 5,
      maxLineBytes: 2048,
      startSeconds: 10,
      spawnConcurrency: 1,
      restarts: 0,
      poolSize: 3,
    };
    expect(serverOf({ command: "x", model: "pool", idle: 0, limits })).toMatchObject({
      model: "pool",
      idleSeconds: 0,
      ...limits,
    });
    expect(serverOf({ type: "builtin" })).toEqual({ name: "one", ...DEFAULTS.settings, kind: "builtin" });
  });

  it("gives a default that a server cannot use to none", () => {
    const shared = { ...DEFAULTS, settings: { ...DEFAULTS.settings, model: "shared" as const } };
    const text = `{"mcpServers":{"a":{"command":"x"},"b":{"url":"http://x/"},"c":{"type":"builtin"}}}`;
    const { servers, warnings } = readServersFile(text, {}, shared);
    expect(servers.map(({ model }) => model)).toEqual(["shared", "per-session", "per-session"]);
    expect(warnings).toEqual([]);
  });
});

describe("what cannot be", () => {
  it.each([
    [{}, "command or url is missing"],
    [{ command: "x", url: "http://x/" }, "command cannot stand beside a url"],
    [{ command: "" }, "command must not be empty"],
    [{ command: 5 }, "command must be text in double quotes"],
    [{ command: "x", args: "canary" }, "args must be a list of texts"],
    [{ command: "x", args: [1] }, "args.0 must be text in double quotes"],
    [{ command: "x", args: ["canary\0"] }, "args.0 must hold no NUL"],
    [{ command: "x", env: { A: 1 } }, "env.A must be text in double quotes"],
    [{ command: "x", env: { "A=": "canary" } }, '"env.A=" is no name of a variable'],
    [{ command: "x", env: { A: "${UNSET}" } }, "env.A uses ${UNSET}, which is not set"],
    [{ type: "stdio", url: "http://x/" }, "command is missing"],
    [{ type: "http", command: "x" }, "url is missing"],
    [{ type: "canary", url: "http://x/" }, "type must be stdio, http, sse or builtin"],
    [{ type: "constructor", url: "http://x/" }, "type must be stdio, http, sse or builtin"],
    [{ url: "canary" }, "url must be a URL that begins with http:// or https://"],
    [{ url: "file:///canary" }, "url must be a URL that begins with http:// or https://"],
    [{ url: "http://canary:canary@x/" }, "url must hold no user or password: use headers"],
    [{ url: "http://x/", headers: { "a b": "canary" } }, '"headers.a b" is no name of a header'],
    [
      { url: "http://x/", headers: { a: "canary\r\nb: c" } },
      "headers.a must have no line breaks and no letters that a header cannot carry",
    ],
    [
      { url: "http://x/", headers: { a: "canary\u{1F600}" } },
      "headers.a must have no line breaks and no letters that a header cannot carry",
    ],
    [{ url: "http://x/", headers: { Host: "canary" } }, "headers.Host is set by the gateway itself"],
    [
      { url: "http://x/", headers: { "Mcp-Session-Id": "canary" } },
      "headers.Mcp-Session-Id is set by the gateway itself",
    ],
    [{ command: "x", model: "canary" }, "model must be one of per-session, shared, pool"],
    [{ command: "x", idle: "5" }, "idle must be a whole number"],
    [{ command: "x", idle: -1 }, "idle must be a whole number from 0 to 604800"],
    [
      { command: "x", limits: { maxChildren: 0 } },
      "limits.maxChildren must be a whole number from 1 to 100000",
    ],
    [{ command: "x", limits: { restarts: 1.5 } }, "limits.restarts must be a whole number from 0 to 1000"],
    [
      { command: "x", limits: { maxLineBytes: 65_537 } },
      "limits.maxLineBytes must not be larger than MAX_OUTBOX_BYTES",
    ],
    [{ command: "x", disabled: "yes" }, "disabled must be true or false"],
    [null, "it must be an object"],
    ["canary", "it must be an object"],
    [["canary"], "it must be an object"],
  ])("says so of %j", (entry, words) => {
    expect(problemsOf(entry)).toEqual([`MCP_SERVERS_FILE, server one: ${words}.`]);
  });

  it.each([
    [`{`, "line 1, column 2: there must be a name in double quotes"],
    [`[]`, "it must be an object with mcpServers"],
    [`{}`, "it has no mcpServers"],
    [`{"mcpServers": {}, "servers": {}}`, "it has both mcpServers and servers"],
    [`{"mcpServers": []}`, "mcpServers must be an object of servers"],
    [`{"servers": {}}`, "it names no server to be used"],
    [`{"servers": {"a": {"command": "x", "disabled": true}}}`, "it names no server to be used"],
  ])("says so of the file %s", (text, words) => {
    expect(readServersFile(text, {}, DEFAULTS)).toEqual({
      servers: [],
      problems: [`MCP_SERVERS_FILE: ${words}.`],
      warnings: [],
    });
  });

  it.each([["a"], ["A-1_b"], ["_a"], ["x".repeat(64)]])("takes the name %s", (name) => {
    expect(read({ [name]: { command: "x" } }).problems).toEqual([]);
  });

  it.each([[""], ["a__b"], ["a_"], ["a b"], ["a/b"], ["*"], ["é"], ["x".repeat(65)], ["a\nb"], ["../a"]])(
    "takes no server that is called %j, and says so on one line",
    (name) => {
      const { problems } = read({ [name]: { command: "x" } });
      expect(problems).toEqual([
        expect.stringMatching(/^MCP_SERVERS_FILE, server .{1,80}: a name must be .*\.$/),
      ]);
    },
  );

  it("tells all at once, by server and field", () => {
    const { problems } = read({
      a: { command: "${UNSET}", args: ["${UNSET_TOO}"] },
      b: { url: "nonsense", headers: { x: "${UNSET}" } },
      c: { command: "fine" },
    });
    expect(problems.map((line) => /server (\w: [\w.]+) /.exec(line)?.[1])).toEqual([
      "a: command",
      "a: args.0",
      "b: url",
      "b: headers.x",
    ]);
  });

  it("never says a value, whatever stands in the file", () => {
    const value = fc.oneof(
      fc.constant("canary"),
      fc.constant("${UNSET}canary"),
      fc.constant("canary\0"),
      fc.constant({ canarie: "canary" }),
      fc.constant(["canary"]),
      fc.constant("http://canary:canary@x/"),
    );
    const field = fc.constantFrom(
      "type",
      "command",
      "args",
      "env",
      "url",
      "headers",
      "cwd",
      "model",
      "limits",
    );
    fc.assert(
      fc.property(fc.dictionary(field, value), (entry) => {
        const { problems, warnings } = read({ one: entry });
        expect([...problems, ...warnings].join("\n")).not.toContain("canary");
      }),
    );
  });
});

describe("what is passed over", () => {
  it("is told, with a question where a name is near", () => {
    const text = `{
      "inputs": [], "mcpServerz": {},
      "mcpServers": { "a": { "command": "x", "arg": [], "timeout": 5, "limits": { "restart": 1 } } }
    }`;
    const { servers, problems, warnings } = readServersFile(text, {}, DEFAULTS);
    expect({ names: servers.map(({ name }) => name), problems }).toEqual({ names: ["a"], problems: [] });
    expect(warnings).toEqual([
      "MCP_SERVERS_FILE: inputs is not known here and was passed over.",
      "MCP_SERVERS_FILE: mcpServerz is not known here and was passed over. Did you mean mcpServers?",
      "MCP_SERVERS_FILE, server a: arg is not known here and was passed over. Did you mean args?",
      "MCP_SERVERS_FILE, server a: timeout is not known here and was passed over.",
      "MCP_SERVERS_FILE, server a: limits.restart is not known here and was passed over. Did you mean limits.restarts?",
    ]);
  });

  it("is told of what the kind of server has no use for, and of a whole line in place of a program", () => {
    expect(
      read({ a: { url: "http://x/", env: {}, model: "shared" }, b: { command: "npx -y x" } }).warnings,
    ).toEqual([
      "MCP_SERVERS_FILE, server a: env does nothing for a server of this kind.",
      "MCP_SERVERS_FILE, server a: model does nothing for a server of this kind.",
      "MCP_SERVERS_FILE, server b: command is the program alone; the rest belongs into args.",
    ]);
  });
});

describe("secrets", () => {
  it("are all values that came from a variable, and those whose names say so", () => {
    const server = serverOf({
      command: "x",
      args: ["--token=${TOKEN}", "${UNSET:-harmless}"],
      env: { GITHUB_TOKEN: "written-out", MODE: "production" },
    });
    expect(server).toMatchObject({ secrets: ["written-out", "canary-of-token"] });
  });
});

describe("loadServersFile", () => {
  it("reads the file, and tells when it cannot without saying where it looked", async () => {
    const directory = await mkdtemp(join(tmpdir(), "servers-file-"));
    onTestFinished(() => rm(directory, { recursive: true }));
    const path = join(directory, "mcp.json");
    const problems = () => loadServersFile(path, {}, DEFAULTS).problems;
    expect(problems()).toEqual(["MCP_SERVERS_FILE: there is no such file."]);
    await writeFile(path, `{"mcpServers":{"a":{"command":"x"}}}`);
    expect(loadServersFile(path, {}, DEFAULTS).servers).toHaveLength(1);
    await writeFile(path, " ".repeat(1024 * 1024 + 1));
    expect(problems()).toEqual(["MCP_SERVERS_FILE: it is larger than 1048576 bytes."]);
    expect(loadServersFile(directory, {}, DEFAULTS).problems).toEqual([
      "MCP_SERVERS_FILE: it is there and cannot be read.",
    ]);
  });
});
