import { describe, expect, it, vi } from "vitest";
import { pino } from "pino";
import { Journals } from "../../src/session/journal.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import type { JournalChange } from "../../src/session-store/session-store.ts";
import { settled, silent } from "./scripted.ts";

const bytes = (text: string) => Buffer.from(text);

/** Journals on a store that takes as long as it is told to, and notes what it is asked. */
function open({ log = silent } = {}) {
  const store = createMemorySessionStore();
  const flights: JournalChange[][] = [];
  const removed: string[] = [];
  const wind = { isAway: false, held: undefined as Promise<void> | undefined };
  const journals = new Journals({
    store: {
      ...store,
      writeJournals: async (changes, ttlSeconds) => {
        flights.push([...changes]);
        await wind.held;
        if (wind.isAway) throw new Error("away");
        await store.writeJournals(changes, ttlSeconds);
      },
      removeJournal: async (id, epoch) => {
        removed.push(`${id} ${epoch}`);
        await store.removeJournal(id, epoch);
      },
    },
    ttlSeconds: 60,
    log,
  });
  const entriesOf = async (id: string, epoch = 1) => [...(await store.readJournal(id, epoch)).keys()];
  return { journals, flights, removed, wind, entriesOf };
}

/** A gate that a store's answer waits behind. */
function gate() {
  let open = (): void => undefined;
  const held = new Promise<void>((resolve) => (open = resolve));
  return { held, open: () => open() };
}

describe("what was accepted", () => {
  it("goes to the store at once, with all that came in the same turn, of every session", async () => {
    const { journals, flights, entriesOf } = open();
    const [a, b] = [journals.open("a", 1), journals.open("b", 2)];
    await Promise.all([
      ...[1, 2, 3].map((id) => a.accepted(String(id), bytes("{}"))),
      b.accepted('"x"', bytes("{}")),
    ]);
    expect(flights).toHaveLength(1);
    expect(await entriesOf("a")).toEqual(["r:1", "r:2", "r:3"]);
    expect(await entriesOf("b", 2)).toEqual(['r:"x"']);
  });

  it("is written before it counts as kept, and what comes during a flight goes with the next, as one", async () => {
    const { journals, flights, wind } = open();
    const { held, open: land } = gate();
    wind.held = held;
    const a = journals.open("a", 1);
    const done: number[] = [];
    const first = a.accepted("1", bytes("{}")).then(() => done.push(1));
    await settled();
    const others = [2, 3, 4].map((id) => a.accepted(String(id), bytes("{}")).then(() => done.push(id)));
    await settled();
    expect([flights.length, done]).toEqual([1, []]);
    land();
    await Promise.all([first, ...others]);
    expect(flights.map((changes) => [...(changes[0]?.put.keys() ?? [])])).toEqual([
      ["r:1"],
      ["r:2", "r:3", "r:4"],
    ]);
    expect(done).toEqual([1, 2, 3, 4]);
  });

  it("stays for a second after it was answered, since the answer may be lost with the instance", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    try {
      const { journals, entriesOf } = open();
      const a = journals.open("a", 1);
      await a.accepted("1", bytes("{}"));
      a.settled("1");
      await vi.advanceTimersByTimeAsync(900);
      await settled();
      expect(await entriesOf("a")).toEqual(["r:1"]);
      await vi.advanceTimersByTimeAsync(200);
      await settled();
      expect(await entriesOf("a")).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("is removed when it is settled during its flight, or after it", async () => {
    const { journals, wind, entriesOf } = open();
    const { held, open: land } = gate();
    wind.held = held;
    const a = journals.open("a", 1);
    const kept = a.accepted("1", bytes("{}"));
    await settled();
    a.settled("1");
    land();
    await kept;
    await a.accepted("2", bytes("{}"));
    a.settled("2");
    await journals.flush();
    expect(await entriesOf("a")).toEqual([]);
  });

  it("is there when its id was used before", async () => {
    const { journals, entriesOf } = open();
    const a = journals.open("a", 1);
    await a.accepted("1", bytes("{}"));
    a.settled("1");
    await a.accepted("1", bytes("{}"));
    await journals.flush();
    expect(await entriesOf("a")).toEqual(["r:1"]);
  });

  it("counts as kept when the store cannot have it, which is said once, and again after it was back", async () => {
    const lines: string[] = [];
    const log = pino({ level: "warn" }, { write: (line: string) => void lines.push(line) });
    const { journals, wind } = open({ log });
    const a = journals.open("a", 1);
    wind.isAway = true;
    await a.accepted("1", bytes("{}"));
    await a.accepted("2", bytes("{}"));
    expect(lines).toHaveLength(1);
    wind.isAway = false;
    await a.accepted("3", bytes("{}"));
    wind.isAway = true;
    await a.accepted("4", bytes("{}"));
    expect(lines).toHaveLength(2);
    expect(lines.join("")).not.toContain("{}");
  });
});

describe("what could not be written", () => {
  it("is written when the store is back, and of a session with nothing in flight nothing is left", async () => {
    const { journals, wind, entriesOf } = open();
    const a = journals.open("a", 1);
    await Promise.all([1, 2].map((id) => a.accepted(String(id), bytes("{}"))));
    a.kept(1, bytes("{}"));
    await journals.flush();
    expect(await entriesOf("a")).toEqual(["r:1", "r:2", "m:1"]);
    wind.isAway = true;
    a.settled("1");
    a.dropped(1);
    a.kept(2, bytes("{}"));
    await a.accepted("3", bytes("{}"));
    await journals.flush();
    wind.isAway = false;
    await journals.flush();
    expect((await entriesOf("a")).toSorted()).toEqual(["m:2", "r:2", "r:3"]);
    for (const id of ["2", "3"]) a.settled(id);
    a.dropped(2);
    await journals.flush();
    expect(await entriesOf("a")).toEqual([]);
  });

  it("does not undo what was said since: removed while its flight failed, or accepted again", async () => {
    const { journals, wind, entriesOf } = open();
    const a = journals.open("a", 1);
    await a.accepted("again", bytes("{}"));
    const { held, open: land } = gate();
    Object.assign(wind, { isAway: true, held });
    a.dropped(9);
    a.kept(1, bytes("{}"));
    const flight = journals.flush();
    await settled();
    a.dropped(1);
    land();
    await flight;
    wind.isAway = false;
    await journals.flush();
    expect(await entriesOf("a")).toEqual(["r:again"]);
  });

  it("of a session that ended meanwhile is not brought back", async () => {
    const { journals, wind, entriesOf } = open();
    const a = journals.open("a", 1);
    const { held, open: land } = gate();
    Object.assign(wind, { isAway: true, held });
    const kept = a.accepted("1", bytes("{}"));
    await settled();
    a.end(false);
    land();
    await kept;
    wind.isAway = false;
    await journals.flush();
    expect(await entriesOf("a")).toEqual([]);
  });
});

describe("what waits for the client", () => {
  it("is written a little later, in one flight, and not at all when the socket took it by then", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const { journals, flights, entriesOf } = open();
      const a = journals.open("a", 1);
      for (const sequence of [1, 2, 3]) a.kept(sequence, bytes("{}"));
      a.dropped(2);
      await vi.advanceTimersByTimeAsync(99);
      expect(flights).toEqual([]);
      await vi.advanceTimersByTimeAsync(1);
      await settled();
      expect(flights).toMatchObject([[{ id: "a", epoch: 1, drop: [] }]]);
      expect(await entriesOf("a")).toEqual(["m:1", "m:3"]);
      a.kept(4, bytes("{}"));
      a.dropped(4);
      await vi.advanceTimersByTimeAsync(1000);
      await settled();
      expect(flights).toHaveLength(1);
      a.dropped(1);
      await vi.advanceTimersByTimeAsync(100);
      await settled();
      expect(await entriesOf("a")).toEqual(["m:3"]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("goes along with what was accepted, at no cost of its own", async () => {
    const { journals, flights } = open();
    const a = journals.open("a", 1);
    a.kept(1, bytes("{}"));
    await a.accepted("1", bytes("{}"));
    expect(flights).toHaveLength(1);
    expect([...(flights[0]?.[0]?.put.keys() ?? [])]).toEqual(["m:1", "r:1"]);
  });
});

describe("the journal of a session that is over", () => {
  it("is removed, with what was to be written", async () => {
    const { journals, removed, flights, entriesOf } = open();
    const a = journals.open("a", 3);
    await a.accepted("1", bytes("{}"));
    a.kept(1, bytes("{}"));
    a.end(false);
    a.kept(2, bytes("{}"));
    a.settled("1");
    await journals.flush();
    expect([removed, flights.length, await entriesOf("a", 3)]).toEqual([["a 3"], 1, []]);
  });

  it("stays when it is left to the next owner, with what was to be written", async () => {
    const { journals, removed, entriesOf } = open();
    const a = journals.open("a", 1);
    a.kept(1, bytes("{}"));
    a.end(true);
    a.dropped(1);
    await journals.flush();
    expect([removed, await entriesOf("a")]).toEqual([[], ["m:1"]]);
  });
});
