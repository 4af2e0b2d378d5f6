import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "./support/eventually.ts";
import { runProgram, spawnProgram, type SpawnedProgram } from "./support/spawn-gateway.ts";
import { KEY } from "./support/start-gateway.ts";

const LIMIT_MS = 30_000;
const LOCAL = { HOST: "127.0.0.1" };

/** Runs until it listens, and ends with the test. */
async function start(env: Record<string, string>, cwd?: string): Promise<SpawnedProgram> {
  const program = spawnProgram({ env: { ...LOCAL, ...env }, args: ["--port", "0"], ...(cwd ? { cwd } : {}) });
  onTestFinished(() => program.end());
  await program.logged(({ message }) => message === "gateway listening");
  return program;
}

/** A new directory, gone with the test. */
async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "gateway-main-"));
  onTestFinished(() => rm(path, { recursive: true }));
  return path;
}

describe("a start without any setting", () => {
  test(
    "prints a key, the SSE URL, and a curl line that shows the endpoint event",
    async () => {
      const program = await start({});
      await eventually(() => program.stderr().includes("Connect"), LIMIT_MS);
      const said = program.stderr();
      const key = /API key +(mgw_[0-9a-f]{48})\n/.exec(said)?.[1] ?? "";
      expect(said).toMatch(/SSE URL +http:\/\/localhost:\d+\/mcp\/sse\n/);
      expect(said).toContain(`?apiKey=${key}"`);
      expect(program.stdout(), "the key is for the person, not for the log").not.toContain(key);

      const line = /curl -N .+/.exec(said)?.[0] ?? "";
      const curl = spawn("sh", ["-c", `exec ${line}`], { stdio: ["ignore", "pipe", "ignore"] });
      onTestFinished(() => void curl.kill("SIGKILL"));
      let seen = "";
      for await (const chunk of curl.stdout) {
        seen += String(chunk);
        if (/event: endpoint\ndata: \/messages\?sessionId=.+\n\n/.test(seen)) break;
      }
      expect(seen).toContain("event: endpoint");
    },
    LIMIT_MS,
  );

  test(
    "says that sessions are in memory, in JSON lines with a message and a level in words",
    async () => {
      const program = await start({});
      const lines = program.logs();
      expect(lines.map(({ message }) => message)).toEqual([
        "⚠️  Redis not configured, falling back to in-memory sessions",
        "Redis Sessions: DISABLED (in-memory)",
        "gateway listening",
      ]);
      for (const { level } of lines) expect(["info", "warn"]).toContain(level);
    },
    LIMIT_MS,
  );

  test(
    "draws no key when one is set",
    async () => {
      const program = await start({ MCP_API_KEY: KEY });
      program.signal("SIGTERM");
      expect(await program.exited).toEqual({ code: 0, signal: null });
      expect(program.stderr()).toBe("");
      expect(program.stdout()).not.toContain(KEY);
    },
    LIMIT_MS,
  );
});

describe("the command line", () => {
  test("--help tells how to use it, and starts nothing", async () => {
    const { code, stdout, stderr } = await runProgram({ args: ["--help"] });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("mcp-sse-gateway -- npx -y @modelcontextprotocol/server-everything");
  });

  test("--version prints the version of the package", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    expect(await runProgram({ args: ["--version"] })).toMatchObject({ code: 0, stdout: `${version}\n` });
  });

  test.each([
    [["--prot", "3000"], "--prot"],
    [["npx", "some-server"], "Write the server's command behind --"],
    [["--"], "Behind -- there must be the command"],
    [["--port", "many"], "PORT must be a whole number"],
    [["--config", "missing.json"], "MCP_SERVERS_FILE: there is no such file."],
    [["--url", "nonsense"], "--url must be a URL"],
    [["--config", "a.json", "--", "b"], "--config and a command behind -- cannot stand together"],
  ])("%j ends with exit code 2 and says what is wrong", async (args, words) => {
    const { code, stdout, stderr } = await runProgram({ args, env: LOCAL });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("mcp-sse-gateway cannot start:\n");
    expect(stderr).toContain(words);
    expect(stderr).not.toMatch(/\n +at /);
  });
});

describe("a servers file", () => {
  const text = (...names: string[]) =>
    JSON.stringify({ mcpServers: Object.fromEntries(names.map((name) => [name, { type: "builtin" }])) });

  test(
    "is told by the names of its servers, each with a URL of its own",
    async () => {
      const cwd = await directory();
      await writeFile(join(cwd, "mcp.json"), text("one", "two"));
      const program = await start({ MCP_SERVERS_FILE: "mcp.json" }, cwd);
      await eventually(() => program.stderr().includes("Connect"), LIMIT_MS);
      expect(program.stderr()).toMatch(/ in front of 2 servers: one, two\n/);
      expect(program.stderr()).toMatch(/\n +http:\/\/localhost:\d+\/servers\/two\/mcp\n/);
    },
    LIMIT_MS,
  );

  test(
    "is read again when it changes and on SIGHUP; a broken one changes nothing",
    async () => {
      const cwd = await directory();
      const path = join(cwd, "mcp.json");
      await writeFile(path, text("one", "two"));
      const program = await start({ MCP_SERVERS_FILE: "mcp.json" }, cwd);
      await writeFile(path, text("one", "three"));
      const line = await program.logged(({ message }) => message === "servers file read again");
      expect(line).toMatchObject({ added: ["three"], changed: [], removed: ["two"] });
      await writeFile(path, "canary");
      await program.logged(({ message }) => String(message).includes("the servers stay as they were"));
      program.signal("SIGHUP");
      await eventually(
        () => program.logs().filter(({ message }) => String(message).includes("line 1, column")).length > 1,
        LIMIT_MS,
      );
      expect(program.stdout()).not.toContain("canary");
      program.signal("SIGTERM");
      expect(await program.exited).toEqual({ code: 0, signal: null });
    },
    LIMIT_MS,
  );
});

describe("a configuration that cannot work ends with exit code 2", () => {
  test("every problem is told at once, by name, and no value of any", async () => {
    const { code, stdout, stderr } = await runProgram({
      env: {
        PORT: "canary-a",
        HEARTBEAT_SECONDS: "-99887766",
        MCP_API_KEY: "canary b",
        SESSION_STORE: "canary-c",
        UPSTASH_REDIS_REST_TOKEN: "",
      },
    });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    for (const name of [
      "PORT",
      "HEARTBEAT_SECONDS",
      "MCP_API_KEY",
      "SESSION_STORE",
      "UPSTASH_REDIS_REST_TOKEN",
    ])
      expect(stderr).toMatch(new RegExp(`^  ${name}\\b`, "m"));
    expect(stderr).not.toMatch(/canary|99887766/);
  });

  test("production without a key is refused, and so is a weak one", async () => {
    const NODE_ENV = "production";
    const none = await runProgram({ env: { ...LOCAL, NODE_ENV }, args: ["--port", "0"] });
    expect(none).toMatchObject({ code: 2, stdout: "" });
    expect(none.stderr).toContain("MCP_API_KEY is missing");
    const weak = await runProgram({ env: { ...LOCAL, NODE_ENV, MCP_API_KEY: "weak-canary" } });
    expect(weak).toMatchObject({ code: 2, stdout: "" });
    expect(weak.stderr).not.toContain("weak-canary");
  });

  test(
    "a port that is taken",
    async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      onTestFinished(() => void server.close());
      const { port } = server.address() as AddressInfo;
      const { code, stderr } = await runProgram({ env: LOCAL, args: ["--port", `${port}`] });
      expect(code).toBe(2);
      expect(stderr).toBe(`mcp-sse-gateway cannot start: port ${port} is taken. Set PORT or --port.\n`);
    },
    LIMIT_MS,
  );

  test(
    "a misspelt variable only gets a question",
    async () => {
      const program = await start({ MCP_API_KEY: KEY, MCP_API_KEYSS: "canary", REDIS_UR: "canary" });
      const warnings = program.logs().filter(({ level }) => level === "warn");
      expect(warnings.map(({ message }) => message)).toEqual(
        expect.arrayContaining([
          "MCP_API_KEYSS is not a setting of the gateway. Did you mean MCP_API_KEYS?",
          "REDIS_UR is not a setting of the gateway. Did you mean REDIS_URL?",
        ]),
      );
      expect(program.stdout()).not.toContain("canary");
    },
    LIMIT_MS,
  );
});

describe(".env", () => {
  test(
    "is read from where the program is started, and the real environment wins",
    async () => {
      const cwd = await directory();
      await writeFile(
        join(cwd, ".env"),
        `MCP_API_KEY=${KEY}\nPUBLIC_URL=https://from-file.example\nLOG_LEVEL=warn\n`,
      );
      const program = await start({ LOG_LEVEL: "info" }, cwd);
      const line = await program.logged(({ message }) => message === "gateway listening");
      expect(line["url"]).toBe("https://from-file.example/mcp/sse");
      expect(program.stderr(), "the key of the file is taken, so none is drawn").toBe("");
    },
    LIMIT_MS,
  );

  test("that cannot be read is said aloud", async () => {
    const cwd = await directory();
    await mkdir(join(cwd, ".env"));
    const { code, stderr } = await runProgram({ cwd, env: LOCAL, args: ["--port", "0"] });
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: "mcp-sse-gateway cannot start:\n  .env is there and cannot be read.\n",
    });
  });
});
