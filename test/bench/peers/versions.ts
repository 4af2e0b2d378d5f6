import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Peer, PEER_NAMES, folderOf, missingPeer } from "./install.ts";

/** A peer as it is installed. */
export interface PeerVersion {
  peer: Peer;
  version: string;
  /** Those of its dependencies that decide what it costs: every version that its tree holds, the outermost first. */
  dependencies: Record<string, string[]>;
  /** What a reader of its figures must know. */
  note?: string;
}

interface LockFile {
  packages?: Record<string, { version?: string }>;
}

const TELLING = /^(?:@modelcontextprotocol\/.+|express|zod)$/;

const LOOPBACK = "listens on all addresses and has no option for it, so the bench binds it to 127.0.0.1";

const NOTES: Record<Peer, string> = {
  sdk: "no gateway: McpServer on Express with express.json(), as in the SDK's examples; no event store",
  supergateway: `--logLevel none; ${LOOPBACK}; SSE sends every answer to every session; its SDK (v1) runs on zod 3`,
  "mcp-proxy":
    "defaults, with --host 127.0.0.1; its event store keeps 1,000 events a session on Streamable HTTP",
  "mcp-hub": `its log to a file is off, the one to stdout cannot be, but calls are not logged; ${LOOPBACK}; one bundled file, which holds SDK 1.15, zod 3 and Express 4 by the lock file of its repository`,
};

/** The peers that are installed, and what they brought along. */
export function peerVersions(): PeerVersion[] {
  return PEER_NAMES.filter((peer) => missingPeer(peer) === undefined).map((peer) => {
    const lock = readFileSync(join(folderOf(peer), "node_modules/.package-lock.json"), "utf8");
    return { peer, ...readLock(peer, JSON.parse(lock) as LockFile), note: NOTES[peer] };
  });
}

/** What a lock file says of a peer: its own version, and the versions of the dependencies that tell. */
export function readLock(
  peer: Peer,
  { packages = {} }: LockFile,
): Pick<PeerVersion, "version" | "dependencies"> {
  const dependencies: Record<string, string[]> = {};
  let own = "";
  // The outermost first: a nested copy has the longer path.
  for (const path of Object.keys(packages).toSorted((a, b) => a.length - b.length)) {
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    const version = packages[path]?.version;
    if (version === undefined) continue;
    if (path === `node_modules/${packageOf(peer)}`) own = version;
    else if (path !== "" && TELLING.test(name)) {
      const versions = (dependencies[name] ??= []);
      if (!versions.includes(version)) versions.push(version);
    }
  }
  return { version: own, dependencies };
}

function packageOf(peer: Peer): string {
  return peer === "sdk" ? "@modelcontextprotocol/sdk" : peer;
}
