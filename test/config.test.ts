import { describe, expect, it } from "vitest";
import { loadConfig } from "../src/config.ts";
import { ConfigError } from "../src/errors.ts";
import { SETTINGS } from "../src/settings.ts";

const KEY = "k".repeat(40);

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    loadConfig(env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

describe("loadConfig", () => {
  it("needs no setting at all", () => {
    const config = loadConfig({});
    expect(config).toMatchObject({
      http: { port: 3000, host: undefined },
      store: { kind: "memory" },
      drainSeconds: 25,
    });
    expect(config.drawnKey).toMatch(/^mgw_[0-9a-f]{48}$/);
    expect(loadConfig({}).drawnKey).not.toBe(config.drawnKey);
  });

  it("lists every problem at once, naming variables and never values", () => {
    const problems = problemsOf({
      PORT: "canary-1",
      HEARTBEAT_SECONDS: "-1",
      SESSION_STORE: "canary-2",
      MCP_API_KEY: "canary 3",
    });
    expect(problems).toHaveLength(4);
    for (const name of ["PORT", "HEARTBEAT_SECONDS", "SESSION_STORE", "MCP_API_KEY"]) {
      expect(problems.filter((line) => line.startsWith(name))).toHaveLength(1);
    }
    expect(problems.join()).not.toContain("canary");
  });

  it("LIM-06 refuses nonsense for every setting", () => {
    const numbers = Object.keys(SETTINGS).filter((name) =>
      /(SECONDS|BYTES|MS|PORT|MAX_\w+|CONCURRENCY|CHILDREN)$/.test(name),
    );
    expect(numbers.length).toBeGreaterThan(15);
    for (const name of numbers) {
      for (const value of ["abc", "-1", "1e99", "", "1.5", "0x10", " 5", "99999999999999999999"]) {
        expect(problemsOf({ [name]: value }), `${name}=${value}`).toHaveLength(1);
      }
    }
    for (const name of Object.keys(SETTINGS)) expect(problemsOf({ [name]: "" }), name).toHaveLength(1);
  });

  it("chooses the store: what is said, else Upstash, else Redis, else memory", () => {
    const upstash = { UPSTASH_REDIS_REST_URL: "https://x.upstash.io", UPSTASH_REDIS_REST_TOKEN: "t" };
    const redis = { REDIS_URL: "redis://localhost:6379" };
    expect(loadConfig({ ...upstash }).store).toMatchObject({
      kind: "upstash",
      url: "https://x.upstash.io",
      prefix: "mcp:",
    });
    expect(loadConfig({ ...redis }).store).toMatchObject({ kind: "redis" });
    expect(loadConfig({ ...redis, ...upstash }).store.kind).toBe("upstash");
    expect(loadConfig({ ...redis, ...upstash }).warnings.join()).toContain("SESSION_STORE");
    expect(loadConfig({ ...redis, ...upstash, SESSION_STORE: "redis" }).store.kind).toBe("redis");
    expect(loadConfig({ ...redis, SESSION_STORE: "memory" }).store.kind).toBe("memory");
  });

  it("refuses half a store", () => {
    expect(problemsOf({ UPSTASH_REDIS_REST_URL: "https://x.upstash.io" })).toEqual([
      expect.stringContaining("UPSTASH_REDIS_REST_TOKEN is missing"),
    ]);
    expect(problemsOf({ UPSTASH_REDIS_REST_TOKEN: "t" })).toEqual([
      expect.stringContaining("UPSTASH_REDIS_REST_URL is missing"),
    ]);
    expect(problemsOf({ SESSION_STORE: "redis" })).toEqual([expect.stringContaining("REDIS_URL is missing")]);
    expect(problemsOf({ REDIS_URL: "http://localhost" })).toEqual([
      expect.stringContaining("REDIS_URL must be"),
    ]);
  });

  it("tells of misspelt settings, and does not mind other people's variables", () => {
    const { warnings } = loadConfig({
      MCP_API_KEYZ: "x",
      SESSION_TTL: "5",
      UPSTASH_REDIS_REST_TOKENS: "x",
      PATH: "/bin",
      FOO: "1",
    });
    expect(warnings).toEqual([
      "MCP_API_KEYZ is not a setting of the gateway. Did you mean MCP_API_KEY?",
      "SESSION_TTL is not a setting of the gateway.",
      "UPSTASH_REDIS_REST_TOKENS is not a setting of the gateway. Did you mean UPSTASH_REDIS_REST_TOKEN?",
    ]);
  });

  it("reads the server's command as words, and lets the command line win", () => {
    expect(loadConfig({ MCP_SERVER_COMMAND: `npx -y "a server" $HOME;rm` }).server.command).toEqual([
      "npx",
      "-y",
      "a server",
      "$HOME;rm",
    ]);
    expect(loadConfig({ MCP_SERVER_COMMAND: "a", PORT: "1" }, { command: ["b"], port: "2" })).toMatchObject({
      server: { command: ["b"] },
      http: { port: 2 },
    });
    expect(problemsOf({ MCP_SERVER_COMMAND: `a "b` })).toEqual([
      expect.stringContaining("MCP_SERVER_COMMAND"),
    ]);
  });

  it("refuses a line that cannot fit into the outbox", () => {
    expect(problemsOf({ MAX_LINE_BYTES: "2000000", MAX_OUTBOX_BYTES: "1000000" })).toEqual([
      expect.stringContaining("MAX_LINE_BYTES"),
    ]);
  });

  it("finds its way on Railway", () => {
    const env = {
      RAILWAY_ENVIRONMENT_ID: "e",
      RAILWAY_PUBLIC_DOMAIN: "x.up.railway.app",
      RAILWAY_DEPLOYMENT_DRAINING_SECONDS: "30",
      ALLOWED_HOSTS: "gateway.example.com",
      NODE_ENV: "production",
      MCP_API_KEY: KEY,
    };
    expect(loadConfig(env)).toMatchObject({
      http: {
        publicUrl: "https://x.up.railway.app",
        trustProxy: "railway",
        allowedHosts: ["gateway.example.com", "x.up.railway.app"],
      },
      drainSeconds: 20,
    });
    expect(loadConfig({ TRUST_PROXY: "2" }).http.trustProxy).toBe(2);
  });

  it("SEC-55 answers to local names only when it listens on a local address", () => {
    expect(loadConfig({ HOST: "127.0.0.1" }).http.allowedHosts).toEqual(["localhost", "127.0.0.1", "[::1]"]);
    expect(loadConfig({ HOST: "0.0.0.0" }).http.allowedHosts).toEqual([]);
  });
});
