import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { finds, locked, lockfile, manifest, nameAt } from "./lockfile.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const PUBLIC_REGISTRY = "https://registry.npmjs.org/";

describe("the package that npm publishes", () => {
  let files: string[];
  beforeAll(() => {
    if (!existsSync(`${root}dist/main.js`)) execFileSync("npm", ["run", "--silent", "build"], { cwd: root });
    const answer = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    const [pack] = JSON.parse(answer) as [{ files: { path: string }[] }];
    files = pack.files.map((file) => file.path).toSorted();
  }, 120_000);

  test("holds the compiled form of each source file, and nothing that no source file made", () => {
    const sources = readdirSync(`${root}src`, { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".ts") && !path.endsWith(".d.ts"))
      .map((path) => `dist/${path.replaceAll("\\", "/").replace(/\.ts$/, ".js")}`);
    const compiled = files.filter((path) => path.startsWith("dist/"));
    expect(compiled, "stale files? remove dist and build again").toEqual(sources.toSorted());
  });

  test("holds besides only what a user reads", () => {
    expect(files.filter((path) => !path.startsWith("dist/"))).toEqual(
      [".env.example", "LICENSE", "README.md", "package.json"].toSorted(),
    );
  });

  test("holds no secret, test, map or build leftover", () => {
    const unwanted =
      /(^|\/)(\.env(\.(?!example$).*)?|test|.*\.test\..*|.*\.map|.*\.tsbuildinfo|.*\.pem|\.npmrc)$/;
    expect(files.filter((path) => unwanted.test(path))).toEqual([]);
  });

  test("has a command that the shell runs with Node", () => {
    expect(Object.keys(manifest.bin)).toEqual(["mcp-sse-gateway"]);
    for (const path of Object.values(manifest.bin)) {
      expect(files).toContain(path);
      expect(readFileSync(`${root}${path}`, "utf8").split("\n", 1)).toEqual(["#!/usr/bin/env node"]);
    }
  });

  test("runs nothing when somebody installs it", () => {
    const hooks = ["preinstall", "install", "postinstall", "prepare", "preprepare", "postprepare"];
    expect(Object.keys(manifest.scripts).filter((name) => hooks.includes(name))).toEqual([]);
  });
});

describe("package-lock.json", () => {
  test("is of the form that npm 7 and later write", () => {
    expect(lockfile.lockfileVersion).toBe(3);
  });

  test("says of the project what package.json says", () => {
    const { dependencies, devDependencies, engines } = lockfile.packages[""] ?? {};
    expect({ dependencies, devDependencies, engines }).toEqual({
      dependencies: manifest.dependencies,
      devDependencies: manifest.devDependencies,
      engines: manifest.engines,
    });
  });

  test("has a checksum for each package", () => {
    expect(
      locked.filter(([, pack]) => !pack.integrity?.startsWith("sha512-")).map(([place]) => place),
    ).toEqual([]);
  });

  test("names no place to download from but the public registry", () => {
    expect(
      locked.filter(
        ([, pack]) => pack.link === true || !(pack.resolved ?? PUBLIC_REGISTRY).startsWith(PUBLIC_REGISTRY),
      ),
    ).toEqual([]);
  });

  test("knows the packages of every platform: npm ci refuses a lockfile that lacks one", () => {
    const missing = locked.flatMap(([place, pack]) =>
      Object.keys({ ...pack.dependencies, ...pack.optionalDependencies })
        .filter((name) => !finds(place, name))
        .map((name) => `${nameAt(place)} wants ${name}`),
    );
    expect(missing).toEqual([]);
  });
});
