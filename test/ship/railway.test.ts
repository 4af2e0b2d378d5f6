import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config.ts";

/** Requests may take so long to finish after SIGTERM. */
const { drainSeconds } = loadConfig({});
/** And so long for what follows: servers that answer neither their closed input nor SIGTERM, records, the lease. */
const AFTER_THE_DRAIN_SECONDS = 8;

const root = new URL("../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");

interface RailwayJson {
  build: Record<string, unknown>;
  deploy: {
    healthcheckPath: string;
    healthcheckTimeout: number;
    numReplicas: number;
    overlapSeconds: number;
    drainingSeconds: number;
    sleepApplication: boolean;
    restartPolicyType: string;
    restartPolicyMaxRetries: number;
  } & Record<string, unknown>;
}
const railwayJson = JSON.parse(read("railway.json")) as RailwayJson;

interface Service {
  name: string;
  build: unknown;
  deploy: unknown;
  source: { repo: string; branch: string };
  env: Record<string, unknown>;
}

/**
 * Runs .railway/railway.ts in a process of its own, with plain functions in place of `railway/iac`: that package needs Node 22,
 * and nothing but the Railway command line uses it.
 */
const evaluateRailwayTs = (): Service[] => {
  const stub = `
    export const defineRailway = (program) => program;
    export const github = (repo, options) => ({ repo, ...options });
    export const preserve = () => ({ type: "preserve" });
    export const service = (name, config) => ({ name, ...config });
    export const project = (name, definition) => ({ name, ...definition });`;
  const asModule = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;
  const hook = `export const resolve = (name, context, next) =>
    name === "railway/iac" ? { url: ${JSON.stringify(asModule(stub))}, shortCircuit: true } : next(name, context);`;
  const register = `import { register } from "node:module"; register(${JSON.stringify(asModule(hook))});`;
  const script = `
    import program from ${JSON.stringify(new URL(".railway/railway.ts", root).href)};
    const { resources } = await program({ environment: "production" });
    process.stdout.write(JSON.stringify(resources));`;
  const args = [
    "--no-warnings",
    "--import",
    "tsx",
    "--import",
    asModule(register),
    "--input-type=module",
    "--eval",
    script,
  ];
  return JSON.parse(
    execFileSync(process.execPath, args, { cwd: fileURLToPath(root), encoding: "utf8" }),
  ) as Service[];
};

describe("railway.json", () => {
  const { build, deploy } = railwayJson;

  test("builds the Dockerfile", () => {
    expect(build).toEqual({ builder: "DOCKERFILE", dockerfilePath: "Dockerfile" });
  });

  test("leaves the start command to the image: npm start would swallow SIGTERM", () => {
    expect(deploy).not.toHaveProperty("startCommand");
    expect(build).not.toHaveProperty("buildCommand");
  });

  test("gives a drain more time than it takes, so that SIGKILL never ends it", () => {
    expect(deploy.drainingSeconds).toBeTypeOf("number");
    expect(deploy.drainingSeconds).toBeGreaterThanOrEqual(drainSeconds + AFTER_THE_DRAIN_SECONDS);
  });

  test("keeps the old deployment until the new one is reachable", () => {
    expect(deploy.overlapSeconds).toBeTypeOf("number");
    expect(deploy.overlapSeconds).toBeGreaterThan(0);
  });

  test("puts a deployment live only when it is ready", () => {
    expect(deploy.healthcheckPath).toBe("/health/ready");
    expect(deploy.healthcheckTimeout).toBeGreaterThanOrEqual(60);
  });

  test("runs one instance, never asleep, started again after a crash", () => {
    expect(deploy).toMatchObject({
      numReplicas: 1,
      sleepApplication: false,
      restartPolicyType: "ON_FAILURE",
    });
    expect(deploy.restartPolicyMaxRetries).toBeGreaterThan(0);
  });
});

describe(".railway/railway.ts", () => {
  let services: Service[];
  beforeAll(() => {
    services = evaluateRailwayTs();
  });

  test("describes one service, and says of it what railway.json says", () => {
    expect(services).toHaveLength(1);
    expect({ build: services[0]?.build, deploy: services[0]?.deploy }).toEqual({
      build: railwayJson.build,
      deploy: railwayJson.deploy,
    });
  });

  test("holds no value of a variable: all of them stay in Railway", () => {
    const env = services[0]?.env ?? {};
    expect(Object.keys(env)).toEqual(
      expect.arrayContaining(["MCP_API_KEY", "UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"]),
    );
    expect(Object.values(env).every((value) => JSON.stringify(value) === '{"type":"preserve"}')).toBe(true);
  });
});
