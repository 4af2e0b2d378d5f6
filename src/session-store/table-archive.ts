import { randomUUID } from "node:crypto";

import type { Archive, Entry } from "./archive.ts";
import type { Slot, Table } from "./table.ts";
import type { Run } from "./table-verbs.ts";

/** A table as keys and values. A cursor is of this opening of the table: with another one's a walk begins anew. */
export function tableArchive(table: Table, run: Run, ends: Pick<Archive, "ready" | "close">): Archive {
  const opening = randomUUID();
  /** The last walk, where its next page would begin: to skip to a place costs a step for each key before it. */
  let going: { cursor: string; walk: Generator<[string, Slot]> } | undefined;

  function placeOf(cursor: string | undefined): number {
    const [of, place] = cursor?.split(".") ?? [];
    return of === opening ? Number(place) : 0;
  }

  function entryOf(key: string, slot: Slot): Entry {
    const { value } = slot;
    const copy =
      typeof value === "string"
        ? value
        : new Map([...value].map(([name, bytes]) => [name, Buffer.from(bytes)]));
    return { key, value: copy, ttlMs: table.msLeft(slot) };
  }

  function write({ key, value, ttlMs }: Entry, when: "always" | "absent"): boolean {
    if (when === "absent" && table.slot(key)) return false;
    if (typeof value === "string") table.writeText(key, value, ttlMs);
    else table.replaceHash(key, value, ttlMs);
    return true;
  }

  return {
    commands: 0,
    read: ({ cursor, count, under = "" }) =>
      run(() => {
        const entries: Entry[] = [];
        const walk = going && going.cursor === cursor ? going.walk : table.walk(placeOf(cursor));
        for (let step = walk.next(); !step.done; step = walk.next()) {
          const [key, slot] = step.value;
          if (!key.startsWith(under)) continue;
          entries.push(entryOf(key, slot));
          if (entries.length < count) continue;
          going = { cursor: `${opening}.${slot.place}`, walk };
          return { entries, cursor: going.cursor };
        }
        return { entries, cursor: undefined };
      }),
    readKeys: (keys) =>
      run(() =>
        keys.map((key) => {
          const slot = table.slot(key);
          return slot && entryOf(key, slot);
        }),
      ),
    write: (entries, when) => run(() => entries.map((entry) => write(entry, when))),
    swap: (previous, entry) => run(() => table.text(entry.key) === previous && write(entry, "always")),
    remove: (keys) =>
      run(() => {
        for (const key of keys) table.remove(key);
      }),
    ...ends,
  };
}
