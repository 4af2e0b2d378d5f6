import type { Archive, Entry } from "../../src/session-store/archive.ts";
import { StoreFailure, unavailable } from "../../src/session-store/store-failure.ts";

export type Verb = "read" | "readKeys" | "write" | "swap" | "remove" | "ready";

/** A store in this process that a test can look into, hold up and take away. */
export interface ArchiveUnderTest extends Archive {
  /** What it holds, expired or not, with the time at which each expires. */
  held: Map<string, { value: Entry["value"]; expiresAt: number }>;
  /** Called before each verb is carried out; throws to fail it. */
  before: (verb: Verb) => unknown;
  put(...entries: Entry[]): void;
  /** The entries that live, in the order of their keys. */
  living(): Entry[];
  closed: boolean;
}

export const away = (): Error => unavailable(new StoreFailure("unreachable", "ECONNREFUSED"));

/** Cursors are keys, so that they outlive a process and what is removed meanwhile. */
export function anArchive(now: () => number = Date.now): ArchiveUnderTest {
  const held: ArchiveUnderTest["held"] = new Map();
  let commands = 0;

  function entryAt(key: string): Entry | undefined {
    const slot = held.get(key);
    return slot && slot.expiresAt > now()
      ? { key, value: slot.value, ttlMs: slot.expiresAt - now() }
      : undefined;
  }

  const set = ({ key, value, ttlMs }: Entry): void => void held.set(key, { value, expiresAt: now() + ttlMs });
  const keys = (): string[] => [...held.keys()].sort();

  async function verb<T>(name: Verb, work: () => T): Promise<T> {
    await archive.before(name);
    commands++;
    return work();
  }

  const archive: ArchiveUnderTest = {
    held,
    closed: false,
    before: () => undefined,
    put: (...entries) => entries.forEach(set),
    living: () => keys().flatMap((key) => entryAt(key) ?? []),
    get commands() {
      return commands;
    },
    read: ({ cursor, count, under = "" }) =>
      verb("read", () => {
        const after = keys().filter((key) => cursor === undefined || key > cursor);
        const page = after.slice(0, count);
        return {
          entries: page.filter((key) => key.startsWith(under)).flatMap((key) => entryAt(key) ?? []),
          cursor: after.length > count ? page.at(-1) : undefined,
        };
      }),
    readKeys: (asked) => verb("readKeys", () => asked.map(entryAt)),
    write: (entries, when) =>
      verb("write", () =>
        entries.map((entry) => {
          if (when === "absent" && entryAt(entry.key)) return false;
          set(entry);
          return true;
        }),
      ),
    swap: (previous, entry) =>
      verb("swap", () => {
        if (entryAt(entry.key)?.value !== previous) return false;
        set(entry);
        return true;
      }),
    remove: (asked) => verb("remove", () => asked.forEach((key) => held.delete(key))),
    ready: () => verb("ready", () => undefined),
    close: async () => void (archive.closed = true),
  };
  return archive;
}

/** Fails the `nth` call of a verb and all that follow. */
export function failFrom(archive: ArchiveUnderTest, verb: Verb, nth: number): void {
  let calls = 0;
  archive.before = (name) => {
    if (name === verb && ++calls >= nth) throw away();
  };
}
