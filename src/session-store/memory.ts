import type { Archive } from "./archive.ts";
import type { SessionStore } from "./session-store.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";
import { createTable } from "./table.ts";
import { tableArchive } from "./table-archive.ts";
import { tableVerbs } from "./table-verbs.ts";

export interface MemorySessionStoreOptions {
  /** A clock that never goes back, in milliseconds. */
  now?: () => number;
  /** Records, leases, traces and journals held at most; past it, whatever adds one rejects. 100,000 by default. */
  maxEntries?: number;
}

/** Session records in this process: for one instance. Its archive is closed with it, and it with its archive. */
export function createMemorySessionStore(
  options: MemorySessionStoreOptions = {},
): SessionStore & { readonly archive: Archive } {
  const { now = () => performance.now(), maxEntries = 100_000 } = options;
  const table = createTable({ now, maxEntries });
  let closed = false;

  async function whileOpen<T>(work: () => T): Promise<T> {
    if (closed) throw unavailable(new StoreFailure("unreachable", "CLOSED"));
    return work();
  }

  const ready = (): Promise<void> => whileOpen(() => undefined);
  async function close(): Promise<void> {
    closed = true;
    table.clear();
  }
  return {
    kind: "memory",
    ...tableVerbs(table, whileOpen),
    archive: tableArchive(table, whileOpen, { ready, close }),
    ready,
    close,
  };
}
