import type { CliParts } from "../../src/cli/parts.ts";
import { createLog } from "../../src/log.ts";
import { openFileSessionStore } from "../../src/session-store/file.ts";
import { readFileArchive } from "../../src/session-store/file-archive.ts";
import { openRedisArchive } from "../../src/session-store/redis-archive.ts";
import { labelOf, readStoreUrl } from "../../src/session-store/store-url.ts";
import { openUpstashArchive } from "../../src/session-store/upstash-archive.ts";

const PREFIX = "mcp:";
const DEADLINE_MS = 10_000;

const log = createLog("silent");

/** Parts that open real stores by their URLs. `store` is that of the environment. */
export const realStores = (store: string): Pick<CliParts, "readStore" | "openArchive"> => ({
  readStore: (url = store, name) => {
    const target = readStoreUrl(url, { name });
    return { target, label: labelOf(target) };
  },
  openArchive: async (target, { prefix = PREFIX, mayWrite }) => {
    const options = { prefix, deadlineMs: DEADLINE_MS, log };
    switch (target.kind) {
      case "redis":
        return openRedisArchive({ ...options, url: target.url });
      case "upstash":
        return openUpstashArchive({ ...options, url: target.url, token: target.token });
      case "file":
        if (!mayWrite) return await readFileArchive(target.directory, log);
        return (await openFileSessionStore({ ...target, log })).archive;
      case "memory":
        throw new Error("the memory of another process");
    }
  },
});
