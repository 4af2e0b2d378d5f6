import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { interrupted } from "../with-load.ts";

/** Where the peers lie, each with dependencies of its own. It is ignored by git; safe to delete. */
const FOLDER = join(import.meta.dirname, "../../../.cache/bench-peers");
const INSTALL_MS = 180_000;

/** What users would run instead, by exact version; what these bring along is what a fresh install gives. */
const PACKAGES = {
  sdk: { "@modelcontextprotocol/sdk": "1.32.2", express: "5.3.0", zod: "4.6.7" },
  supergateway: { supergateway: "4.0.0" },
  "mcp-proxy": { "mcp-proxy": "6.7.19" },
  "mcp-hub": { "mcp-hub": "4.2.1" },
} as const satisfies Record<string, Record<string, string>>;

export type Peer = keyof typeof PACKAGES;

export const PEER_NAMES = Object.keys(PACKAGES) as Peer[];

const failures = new Map<Peer, string>();

export function folderOf(peer: Peer): string {
  return join(FOLDER, peer);
}

/** Why a peer cannot be started; undefined when it is installed. */
export function missingPeer(peer: Peer): string | undefined {
  if (isInstalled(peer)) return undefined;
  return failures.get(peer) ?? "it is not installed";
}

/** Installs a peer unless it is there. It never fails: `missingPeer` then tells why, and this process tries no more. */
export async function installPeer(peer: Peer): Promise<void> {
  if (isInstalled(peer) || failures.has(peer)) return;
  const packages = Object.entries(PACKAGES[peer]).map(([name, version]) => `${name}@${version}`);
  process.stderr.write(`installing ${packages.join(", ")} into .cache/bench-peers\n`);
  mkdirSync(FOLDER, { recursive: true });
  // Installed aside and then renamed: what lies at its place is whole, even after an interruption.
  const aside = mkdtempSync(`${folderOf(peer)}-`);
  try {
    writeFileSync(join(aside, "package.json"), manifestOf(peer));
    await install(aside);
    rmSync(folderOf(peer), { recursive: true, force: true });
    renameSync(aside, folderOf(peer));
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    // Another bench may have been faster.
    if (!isInstalled(peer)) failures.set(peer, `npm could not install it: ${reasonOf(error)}`);
  }
}

function isInstalled(peer: Peer): boolean {
  try {
    return readFileSync(join(folderOf(peer), "package.json"), "utf8") === manifestOf(peer);
  } catch {
    return false;
  }
}

function manifestOf(peer: Peer): string {
  return `${JSON.stringify({ private: true, dependencies: PACKAGES[peer] }, null, 2)}\n`;
}

async function install(folder: string): Promise<void> {
  // Under `npm run` the environment names this checkout, so the folder is said outright.
  const args = ["install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund"];
  await promisify(execFile)("npm", [...args, "--loglevel=error", "--fetch-retries=1"], {
    cwd: folder,
    signal: AbortSignal.any([interrupted, AbortSignal.timeout(INSTALL_MS)]),
  });
}

/** npm's first line of error, which is the one that says what is wrong. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "AbortError")
    return interrupted.aborted ? "interrupted" : `not within ${INSTALL_MS / 1000} s`;
  const said = "stderr" in error ? String(error.stderr) : "";
  const lines = said.split("\n").filter((line) => line.startsWith("npm error"));
  return lines.length === 0 ? error.message : lines.slice(0, 3).join("; ").replaceAll("npm error ", "");
}
