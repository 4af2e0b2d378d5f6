import { describe, expect, it } from "vitest";
import { childEnvironment } from "../../src/upstream/environment.ts";

const ours = {
  HOME: "/home/me",
  PATH: "/bin",
  MCP_API_KEY: "key",
  MCP_API_KEYS: "keys",
  REDIS_URL: "redis://secret",
  UPSTASH_REDIS_REST_TOKEN: "token",
  RAILWAY_TOKEN: "railway",
  GITHUB_TOKEN: "github",
  NODE_OPTIONS: "--inspect",
  EMPTY: "",
};

describe("childEnvironment", () => {
  it("FLT-41 hands on harmless names only", () => {
    expect(childEnvironment(ours, [])).toEqual({ HOME: "/home/me", PATH: "/bin" });
  });

  it("hands on what the operator listed by its exact name", () => {
    const env = childEnvironment(ours, ["GITHUB_TOKEN", "REDIS_URL", "EMPTY", "ABSENT"]);
    expect(env).toEqual({
      HOME: "/home/me",
      PATH: "/bin",
      GITHUB_TOKEN: "github",
      REDIS_URL: "redis://secret",
      EMPTY: "",
    });
    expect(childEnvironment(ours, ["UPSTASH_*", "*", "", "github_token"])).toEqual({
      HOME: "/home/me",
      PATH: "/bin",
    });
  });

  it("FLT-41 never hands on the keys of our own door", () => {
    expect(childEnvironment(ours, ["MCP_API_KEY", "MCP_API_KEYS"])).toEqual({
      HOME: "/home/me",
      PATH: "/bin",
    });
  });

  it("takes no name from the object's own nature", () => {
    expect(childEnvironment({}, ["constructor", "toString", "__proto__"])).toEqual({});
  });
});
