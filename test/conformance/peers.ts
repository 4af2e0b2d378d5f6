import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";

/** Where packages lie that only these runs need, and what the runs saw. It keeps itself out of git; safe to delete. */
export const CACHE = join(import.meta.dirname, "../../.cache/conformance");

const INSTALL_MS = 300_000;

/**
 * Installs packages into a folder of the cache, unless they are there.
 *
 * @param packages What to install, by the name it gets: `{ node: "24" }` or `{ old: "npm:node@22" }`.
 * @returns The folder `node_modules` with them.
 */
export async function installPeers(folder: string, packages: Record<string, string>): Promise<string> {
  const home = join(CACHE, folder);
  const list = join(home, "package.json");
  const wanted = `${JSON.stringify({ private: true, dependencies: packages }, null, 2)}\n`;
  const installed = join(home, "installed");
  if (!existsSync(installed) || readFileSync(installed, "utf8") !== wanted) {
    mkdirSync(home, { recursive: true });
    writeFileSync(list, wanted);
    const args = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
    await promisify(execFile)("npm", args, { cwd: home, timeout: INSTALL_MS });
    writeFileSync(installed, wanted);
  }
  return join(home, "node_modules");
}

/** A Node of version 22 or later, which the suite and some clients need: this one, or one of the cache. */
export async function findNode(): Promise<string> {
  if (Number(process.versions.node.split(".")[0]) >= 22) return process.execPath;
  return join(await installPeers("node", { node: "24" }), "node/bin/node");
}

/** The file that a package of the cache names as its program. */
export function binOf(modules: string, name: string, bin?: string): string {
  const about = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8")) as {
    bin: string | Record<string, string>;
  };
  const file =
    typeof about.bin === "string" ? about.bin : (about.bin[bin ?? name] ?? Object.values(about.bin)[0]);
  if (file === undefined) throw new Error(`${name} has no program`);
  return join(modules, name, file);
}
