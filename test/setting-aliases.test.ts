import { describe, expect, it } from "vitest";
import { loadConfig } from "../src/config.ts";
import { readAliases, SETTING_ALIASES } from "../src/setting-aliases.ts";

const REDIS = { REDIS_URL: "redis://localhost:6379" };

describe("names that other documents have for our settings", () => {
  it.each([
    [{ SESSION_STORE_TYPE: "memory" }, "SESSION_STORE", "memory"],
    [{ REDIS_PREFIX: "app:" }, "REDIS_KEY_PREFIX", "app:"],
    [{ REDIS_TTL: "60" }, "SESSION_TTL_SECONDS", "60"],
    [{ REDIS_SESSION_TTL: "61", REDIS_TTL: "60" }, "SESSION_TTL_SECONDS", "61"],
    [{ REDIS_FALLBACK_ENABLED: "true" }, "SESSION_STORE_FALLBACK", "memory"],
    [{ REDIS_FALLBACK_ENABLED: "false" }, "SESSION_STORE_FALLBACK", "off"],
    [{ REDIS_TLS: "true", REDIS_URL: "redis://a:1,redis://b:2" }, "REDIS_URL", "rediss://a:1,rediss://b:2"],
    [{ REDIS_TLS: "1", REDIS_URL: "redis+sentinel://a:1/m" }, "REDIS_URL", "rediss+sentinel://a:1/m"],
    [{ REDIS_TLS: "true", REDIS_URL: "rediss://a:1" }, "REDIS_URL", "rediss://a:1"],
  ] as const)("%j says %s is %s", (env, setting, value) => {
    expect(readAliases(env).given.get(setting)).toBe(value);
  });

  it("reach the configuration", () => {
    const config = loadConfig({
      ...REDIS,
      REDIS_TLS: "true",
      REDIS_PREFIX: "app:",
      REDIS_TTL: "60",
      REDIS_FALLBACK_ENABLED: "true",
    });
    expect(config.store).toMatchObject({
      target: { kind: "redis", url: "rediss://localhost:6379" },
      prefix: "app:",
      fallback: "memory",
    });
    expect(config.session.ttlSeconds).toBe(60);
  });

  it("give way to our own", () => {
    const config = loadConfig({ SESSION_TTL_SECONDS: "100", REDIS_TTL: "60", REDIS_SESSION_TTL: "70" });
    expect(config.session.ttlSeconds).toBe(100);
    expect(config.warnings.filter((line) => line.includes("SESSION_TTL_SECONDS is set"))).toHaveLength(2);
  });

  it("are told once each, without a value", () => {
    const env = Object.fromEntries(SETTING_ALIASES.map(({ name }) => [name, "canary"]));
    const { notes } = readAliases({ ...env, ...REDIS });
    for (const { name } of SETTING_ALIASES)
      expect(notes.filter((line) => line.startsWith(`${name} `))).toHaveLength(1);
    expect(notes.join()).not.toContain("canary");
  });

  it("are told as problems of the setting where they make no sense", () => {
    expect(() => loadConfig({ REDIS_TTL: "soon" })).toThrow(/SESSION_TTL_SECONDS/);
  });
});
