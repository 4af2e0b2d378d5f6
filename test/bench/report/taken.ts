import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, release, totalmem, type as systemName } from "node:os";
import process from "node:process";
import { openAccount } from "../cpu.ts";
import { type PeerVersion, peerVersions } from "../peers/versions.ts";
import { canPin } from "../pin.ts";

/** On what, of what and when the figures were taken. No name and no path of the machine is in it. */
export interface Taken {
  date: string;
  version: string;
  commit: string;
  node: string;
  cores: number;
  cpu: string;
  memoryGb: number;
  kernel: string;
  isPinned: boolean;
  /** Where CPU time is read. */
  cpuSource: string;
  peers: PeerVersion[];
}

export function describeTaking(): Taken {
  const manifest = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  const account = openAccount();
  account.close();
  return {
    date: new Date().toISOString().slice(0, 10),
    version: manifest.version,
    commit: readCommit(),
    node: process.version,
    cores: cpus().length,
    cpu: cpus()[0]?.model ?? "unknown",
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: `${systemName()} ${release().split("-", 1)[0]}`,
    isPinned: canPin,
    cpuSource: account.source,
    peers: peerVersions(),
  };
}

function readCommit(): string {
  const commit = git("rev-parse", "--short=12", "HEAD");
  if (commit === "") return "unknown";
  return git("status", "--porcelain", "--untracked-files=no") === "" ? commit : `${commit} with changes`;
}

function git(...words: string[]): string {
  const { stdout } = spawnSync("git", words, { cwd: import.meta.dirname, encoding: "utf8" });
  return (stdout ?? "").trim();
}
