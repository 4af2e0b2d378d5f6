import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createLog } from "../../src/log.ts";
import { openFileSessionStore, type FileSessionStoreOptions } from "../../src/session-store/file.ts";
import { describeSessionStore } from "./conformance.ts";
import { describeArchive } from "./conformance-archive.ts";

async function inNewDirectory(over: Partial<FileSessionStoreOptions> = {}) {
  const directory = await mkdtemp(join(tmpdir(), "file-store-"));
  const store = await openFileSessionStore({ directory, sync: "off", log: createLog("silent"), ...over });
  return { store, end: () => rm(directory, { recursive: true }) };
}

// One process at a time holds a directory, so there are no two stores over one.
describeSessionStore("file, synced and always compacting", "inside", async () => {
  const { store, end } = await inNewDirectory({ sync: "always", compaction: { factor: 0, minBytes: 1 } });
  return { one: store, other: store, end };
});

describeArchive("file", async () => {
  const { store, end } = await inNewDirectory();
  return { archive: store.archive, store, end };
});

describeArchive("file, always compacting", async () => {
  const { store, end } = await inNewDirectory({ compaction: { factor: 0, minBytes: 1 } });
  return { archive: store.archive, store, end };
});
