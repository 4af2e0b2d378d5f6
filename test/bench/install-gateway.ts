import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type InstallSize, measureFolder, namesOf, readInstall, readManifest } from "./install-size.ts";
import { say } from "./rounds.ts";
import { pathOf } from "./target.ts";
import { interrupted } from "./with-load.ts";

const ROOT = pathOf("../../", import.meta.url);
const NPM_MS = 180_000;

export interface GatewaySize extends InstallSize {
  how: "installed from its package" | "read from this checkout";
  /** Bytes of each direct dependency alone, without what it needs itself. */
  directBytes: Record<string, number>;
}

/** Installs the gateway as a user gets it, measures that and removes it. Without a registry it reads what is installed here. */
export async function measureGateway(): Promise<GatewaySize> {
  const folder = await mkdtemp(join(tmpdir(), "bench-size-"));
  try {
    await installInto(folder);
    const size = readInstall(folder);
    return {
      ...size,
      how: "installed from its package",
      directBytes: bytesOf(size.direct, join(folder, "node_modules")),
    };
  } catch (error) {
    if (interrupted.aborted) throw error;
    say(`the package cannot be installed, so this checkout's folders are read: ${firstLine(error)}`);
    return await readCheckout();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function installInto(folder: string): Promise<void> {
  // Its scripts would build again what is measured.
  const packed = await npm(["pack", "--ignore-scripts", "--json", "--pack-destination", folder], ROOT);
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  await writeFile(join(folder, "package.json"), '{ "private": true }\n');
  const flags = ["--prefix", folder, "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"];
  await npm(["install", ...flags, "--fetch-retries=1", join(folder, filename)], folder);
}

async function readCheckout(): Promise<GatewaySize> {
  const listed = await npm(["ls", "--omit=dev", "--all", "--parseable"], ROOT);
  const folders = [...new Set(listed.split("\n").filter(Boolean))].filter((path) => existsSync(path));
  const dependencies = folders.filter((path) => path.includes("node_modules"));
  const sizes = [join(ROOT, "dist"), ...dependencies].map((path) => measureFolder(path, ["node_modules"]));
  const direct = namesOf(readManifest(ROOT));
  const sum = (of: (size: (typeof sizes)[number]) => number): number =>
    sizes.reduce((total, size) => total + of(size), 0);
  return {
    how: "read from this checkout",
    direct,
    packages: dependencies.length,
    files: sum(({ files }) => files),
    bytes: sum(({ bytes }) => bytes),
    diskBytes: sum(({ diskBytes }) => diskBytes),
    directBytes: bytesOf(direct, join(ROOT, "node_modules")),
  };
}

function bytesOf(names: readonly string[], modules: string): Record<string, number> {
  return Object.fromEntries(
    names.map((name) => [name, measureFolder(join(modules, name), ["node_modules"]).bytes]),
  );
}

async function npm(args: readonly string[], cwd: string): Promise<string> {
  const signal = AbortSignal.any([interrupted, AbortSignal.timeout(NPM_MS)]);
  const { stdout } = await promisify(execFile)("npm", [...args, "--loglevel=error"], { cwd, signal });
  return stdout;
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n").find((line) => line.startsWith("npm error")) ?? text.split("\n", 1)[0] ?? "";
}
