import { createHash } from "node:crypto";
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
      store: { target: { kind: "memory" } },
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
      /(SECONDS|BYTES|MS|PORT|MAX_\w+|CONCURRENCY|CHILDREN|GRACE|RESTARTS|SIZE)$/.test(name),
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
      target: { kind: "upstash", url: "https://x.upstash.io" },
      prefix: "mcp:",
    });
    expect(loadConfig({ ...redis }).store.target.kind).toBe("redis");
    expect(loadConfig({ ...redis, ...upstash }).store.target.kind).toBe("upstash");
    expect(loadConfig({ ...redis, ...upstash }).warnings.join()).toContain("SESSION_STORE");
    expect(loadConfig({ ...redis, ...upstash, SESSION_STORE: "redis" }).store.target.kind).toBe("redis");
    expect(loadConfig({ ...redis, SESSION_STORE: "memory" }).store.target.kind).toBe("memory");
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
      expect.stringContaining("REDIS_URL must start with redis://"),
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
      "SESSION_TTL is not a setting of the gateway. Did you mean SESSION_TTL_SECONDS?",
      "UPSTASH_REDIS_REST_TOKENS is not a setting of the gateway. Did you mean UPSTASH_REDIS_REST_TOKEN?",
    ]);
  });

  it("reads the server's command as words, and lets the command line win", () => {
    expect(loadConfig({ MCP_SERVER_COMMAND: `npx -y "a server" $HOME;rm` }).servers).toMatchObject([
      { name: "default", kind: "stdio", command: "npx", args: ["-y", "a server", "$HOME;rm"] },
    ]);
    expect(loadConfig({ MCP_SERVER_COMMAND: "a", PORT: "1" }, { command: ["b"], port: "2" })).toMatchObject({
      servers: [{ command: "b" }],
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

  describe("what outlives streams, servers and instances", () => {
    const REDIS = { REDIS_URL: "redis://localhost:6379" };
    const UPSTASH = { UPSTASH_REDIS_REST_URL: "https://x.upstash.io", UPSTASH_REDIS_REST_TOKEN: "token" };
    const RAILWAY = { RAILWAY_ENVIRONMENT_ID: "e" };

    it("relays nothing and keeps no journal unless told to, yet waits for clients and starts servers again", () => {
      expect(loadConfig({})).toMatchObject({
        relay: { isOn: false, driver: "auto", url: undefined, privateDomain: undefined, allowedHosts: [] },
        session: { orphanGraceSeconds: 120, durability: "off", streamMaxAgeSeconds: 0 },
        serverDefaults: { settings: { restarts: 3 } },
      });
    });

    it("takes the relay's settings with a store that instances share", () => {
      const env = {
        ...REDIS,
        SESSION_RELAY: "on",
        SESSION_RELAY_DRIVER: "redis",
        SESSION_RELAY_URL: "http://10.0.0.5:3000",
        SESSION_RELAY_ALLOW: "one.internal, two.internal,",
        RAILWAY_PRIVATE_DOMAIN: "gateway.railway.internal",
      };
      expect(loadConfig(env).relay).toMatchObject({
        isOn: true,
        driver: "redis",
        url: "http://10.0.0.5:3000",
        privateDomain: "gateway.railway.internal",
        allowedHosts: ["one.internal", "two.internal"],
      });
    });

    it("hands the relay the secret alone, else the store's credentials and the keys' digests, and no API key in clear", () => {
      const secret = "canary-".repeat(5);
      const { secrets } = loadConfig({ ...UPSTASH, MCP_API_KEY: KEY, SESSION_RELAY_SECRET: secret }).relay;
      expect(secrets).toEqual([secret]);
      const derived = loadConfig({ ...REDIS, MCP_API_KEY: KEY }).relay.secrets;
      expect(derived).toEqual([REDIS.REDIS_URL, createHash("sha256").update(KEY).digest()]);
      const problems = problemsOf({ SESSION_RELAY_SECRET: "canary".repeat(5) });
      expect(problems).toEqual([expect.stringMatching(/^SESSION_RELAY_SECRET .*32(?!.*canary)/)]);
    });

    it.each([["redis"], ["upstash"], ["auto"], ["http"]])(
      "refuses the relay driver %s where the store does not carry it",
      (driver) => {
        for (const [store, kind] of [
          [REDIS, "redis"],
          [UPSTASH, "upstash"],
        ] as const) {
          const fits = ["auto", "http", kind].includes(driver);
          const env = { ...store, SESSION_RELAY_DRIVER: driver };
          expect(problemsOf({ ...env, SESSION_RELAY: "on" })).toEqual(
            fits ? [] : [expect.stringContaining(`SESSION_RELAY_DRIVER=${driver}`)],
          );
          expect(problemsOf(env)).toEqual([]);
        }
      },
    );

    it.each([
      ["SESSION_RELAY", "on"],
      ["SESSION_DURABILITY", "store"],
    ] as const)("refuses %s=%s with records in memory, and says what is missing", (name, value) => {
      for (const env of [{}, { ...REDIS, SESSION_STORE: "memory" }]) {
        expect(problemsOf({ ...env, [name]: value })).toEqual([
          expect.stringMatching(new RegExp(`^${name}=${value} needs a store.*REDIS_URL`)),
        ]);
      }
      for (const store of [REDIS, UPSTASH]) expect(problemsOf({ ...store, [name]: value })).toEqual([]);
    });

    it("tells a broken store once, and does not blame the relay for it", () => {
      expect(
        problemsOf({ SESSION_STORE: "redis", SESSION_RELAY: "on", SESSION_DURABILITY: "store" }),
      ).toEqual([expect.stringContaining("REDIS_URL is missing")]);
    });

    it.each([
      ["SESSION_RELAY", "yes"],
      ["SESSION_RELAY", "ON"],
      ["SESSION_RELAY_DRIVER", "memory"],
      ["SESSION_RELAY_URL", "https://10.0.0.5"],
      ["SESSION_RELAY_URL", "10.0.0.5:3000"],
      ["SESSION_DURABILITY", "on"],
      ["SESSION_DURABILITY", "memory"],
      ["SESSION_ORPHAN_GRACE", "86401"],
      ["STREAM_MAX_AGE", "604801"],
      ["SERVER_RESTARTS", "1001"],
    ])("refuses %s=%s", (name, value) => {
      expect(problemsOf({ ...REDIS, [name]: value })).toEqual([
        expect.stringMatching(new RegExp(`^${name} must be`)),
      ]);
    });

    it("ends streams before Railway does, and elsewhere only when told to; 0 means never everywhere", () => {
      const maxAge = (env: Record<string, string>) => loadConfig(env).session.streamMaxAgeSeconds;
      expect(maxAge({})).toBe(0);
      expect(maxAge(RAILWAY)).toBe(840);
      expect(maxAge({ ...RAILWAY, STREAM_MAX_AGE: "0" })).toBe(0);
      expect(maxAge({ ...RAILWAY, STREAM_MAX_AGE: "300" })).toBe(300);
      expect(maxAge({ STREAM_MAX_AGE: "60" })).toBe(60);
    });

    it("takes 0 for no waiting and no second start", () => {
      expect(loadConfig({ SESSION_ORPHAN_GRACE: "0", SERVER_RESTARTS: "0" })).toMatchObject({
        session: { orphanGraceSeconds: 0 },
        servers: [{ restarts: 0 }],
      });
    });

    it("takes a journal in the store", () => {
      expect(loadConfig({ ...UPSTASH, SESSION_DURABILITY: "store" }).session.durability).toBe("store");
    });
  });

  it("SEC-55 answers to local names only when it listens on a local address", () => {
    expect(loadConfig({ HOST: "127.0.0.1" }).http.allowedHosts).toEqual(["localhost", "127.0.0.1", "[::1]"]);
    expect(loadConfig({ HOST: "0.0.0.0" }).http.allowedHosts).toEqual([]);
  });
});
