import { randomUUID } from "node:crypto";

import { describe, expect, it } from "vitest";

import { closeSessions, type Closing } from "../../src/cli/close-sessions.ts";
import { decodeLease, decodeRecord, encodeLease } from "../../src/session-store/record-codec.ts";
import type { Lease } from "../../src/session-store/session-store.ts";
import { aLease } from "../session-store/records.ts";
import { anArchive, failFrom, type ArchiveUnderTest } from "./an-archive.ts";
import { aHash, aSession, aTerminal } from "./a-terminal.ts";

const NOW = Date.parse("2026-11-21T11:00:00.000Z");
const now = () => NOW;

const leaseOf = (id: string, over: Partial<Lease> = {}, ttlMs = 40_000) => ({
  key: `instance:${id}`,
  value: encodeLease(aLease({ id, ...over })),
  ttlMs,
});
const seats = (caller: string, ...sessions: { key: string }[]) =>
  aHash(`caller:${caller}`, Object.fromEntries(sessions.map(({ key }) => [key.slice(8), "7f3a9c"])));

describe("sessions list", () => {
  it("shows who is connected, where, for how long, and whether that instance lives", async () => {
    const store = anArchive(now);
    const initialize = { secretOfTheClient: true };
    store.put(
      aSession({ caller: "ada", owner: "aaa", initialize }, 90_000),
      aSession({
        caller: "bob",
        owner: "bbb",
        ending: true,
        client: { userAgent: "cursor\u001B[2J", address: "" },
      }),
      aSession({ caller: "cyd", owner: "ccc", transport: "streamable" }),
      leaseOf("aaa"),
      leaseOf("bbb", { state: "draining" }),
    );
    const terminal = aTerminal({ env: store }, { now });
    expect(await terminal.run("sessions", "list")).toBe(0);
    expect(terminal.out()).toMatch(/^ID +CALLER +SERVER/);
    expect(terminal.out()).toMatch(/ ada +everything +sse +aaa serving +1h 00m +1m 30s +node\n/);
    expect(terminal.out()).toMatch(/ bob .* bbb draining .* cursor·\[2J \(ending\)\n/);
    expect(terminal.out()).toMatch(/ cyd +everything +streamable +ccc dead /);
    expect(terminal.err()).toBe("3 sessions.\n");
    expect(terminal.out()).not.toMatch(/secretOfTheClient|203\.0\.113/);
  });

  it("says the same as JSON, one object a line", async () => {
    const store = anArchive(now);
    store.put(aSession({ caller: "ada", key: "k1", initialize: {} }, 90_000));
    const terminal = aTerminal({ env: store }, { now });
    await terminal.run("sessions", "list", "--json");
    expect(JSON.parse(terminal.out())).toEqual({
      id: expect.any(String) as string,
      caller: "ada",
      key: "k1",
      server: "everything",
      transport: "sse",
      owner: "7f3a9c",
      instance: "dead",
      createdAt: "2026-11-21T10:00:00.000Z",
      ageSeconds: 3600,
      expiresInSeconds: 90,
      userAgent: "node",
    });
  });

  it("finds a caller's by its index, without a walk, and leaves out what is not there or another's", async () => {
    const store = anArchive(now);
    const [own, gone, foreign] = [aSession({ caller: "ada" }), aSession(), aSession({ caller: "bob" })];
    store.put(own, foreign, aSession({ caller: "ada" }), seats("ada", own, gone, foreign));
    const terminal = aTerminal({ env: store }, { now });
    await terminal.run("sessions", "list", "--caller", "ada", "--json");
    expect(terminal.out().trim().split("\n")).toHaveLength(1);
    expect(terminal.out()).toContain(own.key.slice(8));
    // ready, the index, the records and the leases
    expect(store.commands).toBe(4);
  });

  it("asks for hundreds in batches, and stops at the limit", async () => {
    const store = anArchive(now);
    const all = Array.from({ length: 450 }, () => aSession({ caller: "ada" }));
    store.put(...all, seats("ada", ...all));
    const terminal = aTerminal({ env: store }, { now });
    await terminal.run("sessions", "list", "--caller", "ada");
    expect(terminal.err()).toBe("450 sessions.\n");
    expect(store.commands).toBe(6);
    terminal.clear();
    await terminal.run("sessions", "list", "--limit", "10", "--json");
    expect(terminal.out().trim().split("\n")).toHaveLength(10);
    expect(terminal.err()).toMatch(/more than 10/);
  });

  it("answers 3 when the store is away", async () => {
    const store = anArchive();
    failFrom(store, "ready", 1);
    expect(await aTerminal({ env: store }).run("sessions", "list")).toBe(3);
  });
});

describe("sessions show", () => {
  it("shows all that is recorded of one, and answers 1 for none", async () => {
    const store = anArchive();
    const session = aSession({ initialize: { clientInfo: { name: "x\u009B" } } });
    store.put(session, leaseOf("7f3a9c"));
    const terminal = aTerminal({ env: store });
    expect(await terminal.run("sessions", "show", session.key.slice(8))).toBe(0);
    expect(terminal.out()).toMatch(/"initialize": {\n[^]*x·[^]*"instance": "serving"/);
    expect(await terminal.run("sessions", "show", randomUUID())).toBe(1);
    expect(terminal.err()).toMatch(/There is no such session/);
  });
});

describe("sessions close", () => {
  /** An instance that looks when it is told to, and ends what is marked. */
  function alive(store: ArchiveUnderTest, id: string) {
    store.put(leaseOf(id));
    const leases: (Lease | undefined)[] = [];
    const look = () => {
      const lease = decodeLease(store.held.get(`instance:${id}`)?.value, id);
      if (!lease?.look) return;
      leases.push(lease);
      store.put(leaseOf(id));
      for (const { key, value } of store.living()) {
        const record = decodeRecord(value, key.slice(8));
        if (record?.owner === id && record.ending) store.held.delete(key);
      }
    };
    return { leases, look };
  }

  const closing = async (store: ArchiveUnderTest, ids: string[], over: object = {}) => {
    const told: Closing[] = [];
    const signal = new AbortController().signal;
    const onClosed = (each: Closing) => void told.push(each);
    await closeSessions(store, ids, { waitMs: 1000, pollMs: 1, now: Date.now, signal, onClosed, ...over });
    return told;
  };

  it("marks the record, tells its owner to look, and waits until it has ended it", async () => {
    const store = anArchive();
    const session = aSession({ rev: 4, initialize: { a: 1 } }, 77_000);
    store.put(session);
    const owner = alive(store, "7f3a9c");
    let marked: string | undefined;
    let reads = 0;
    store.before = (verb) => {
      if (verb !== "readKeys" || ++reads < 4) return;
      marked ??= store.held.get(session.key)?.value as string;
      owner.look();
    };
    const id = session.key.slice(8);
    expect(await closing(store, [id])).toEqual([{ id, outcome: "closed", owner: "7f3a9c" }]);
    expect(decodeRecord(marked, id)).toMatchObject({ rev: 5, ending: true, initialize: { a: 1 } });
    expect(owner.leases).toMatchObject([{ look: true }]);
  });

  it("keeps the expiries of record and lease, or a dead instance would seem to live", async () => {
    let time = NOW;
    const store = anArchive(() => time);
    const session = aSession({}, 77_000);
    store.put(session, leaseOf("7f3a9c", {}, 5000));
    store.before = () => void (time += 100);
    await closing(store, [session.key.slice(8)], { waitMs: 0 });
    expect(store.held.get("instance:7f3a9c")?.expiresAt).toBeLessThanOrEqual(NOW + 5100);
    expect(store.held.get(session.key)?.expiresAt).toBeLessThanOrEqual(NOW + 77_300);
    expect(store.held.get("instance:7f3a9c")?.value).toMatch(/"look":true/);
  });

  it("marks again what its owner changed at that moment", async () => {
    const store = anArchive();
    const session = aSession();
    const id = session.key.slice(8);
    store.put(session, leaseOf("7f3a9c"));
    let swaps = 0;
    store.before = (verb) => verb === "swap" && ++swaps === 1 && store.put(aSession({ id, rev: 9 }));
    expect(await closing(store, [id], { waitMs: 0 })).toEqual([{ id, outcome: "open", owner: "7f3a9c" }]);
    expect(decodeRecord(store.held.get(session.key)?.value, id)).toMatchObject({ rev: 10, ending: true });
  });

  it("tells an owner again that looked before the record could be marked", async () => {
    const store = anArchive();
    const session = aSession();
    const id = session.key.slice(8);
    store.put(session);
    const owner = alive(store, "7f3a9c");
    let swaps = 0;
    let pause = 0;
    store.before = (verb) => {
      // Five tries to mark it all fail, for its owner changes it each time.
      if (verb === "swap" && ++swaps <= 5) store.put(aSession({ id, rev: swaps }));
      if (verb === "readKeys" && ++pause > 6) owner.look();
    };
    expect(await closing(store, [id])).toMatchObject([{ outcome: "closed" }]);
    expect(owner.leases).toHaveLength(2);
  });

  it("removes what a dead instance left, with its journal", async () => {
    const store = anArchive();
    const session = aSession({ epoch: 3 });
    const id = session.key.slice(8);
    store.put(session, aHash(`journal:${id}:3`), aHash("journal:other:0"));
    expect(await closing(store, [id])).toEqual([{ id, outcome: "removed", owner: "7f3a9c" }]);
    expect(store.living().map(({ key }) => key)).toEqual(["journal:other:0"]);
  });

  it("removes it too when the owner dies while it is waited for", async () => {
    const store = anArchive();
    const session = aSession();
    store.put(session, leaseOf("7f3a9c"));
    let reads = 0;
    store.before = (verb) => verb === "readKeys" && ++reads === 4 && store.held.delete("instance:7f3a9c");
    expect(await closing(store, [session.key.slice(8)])).toMatchObject([{ outcome: "removed" }]);
  });

  it("closes all of a caller, tells each owner once, and says what happened to each", async () => {
    const store = anArchive();
    const owners = [alive(store, "aaa"), alive(store, "bbb")];
    const own = Array.from({ length: 450 }, (_, at) =>
      aSession({ caller: "ada", owner: at % 2 ? "aaa" : "bbb" }),
    );
    const dead = aSession({ caller: "ada", owner: "ccc" });
    const [gone, foreign] = [aSession(), aSession({ caller: "bob" })];
    store.put(...own, dead, foreign, seats("ada", ...own, dead, gone, foreign));
    let swaps = 0;
    store.before = (verb) => {
      if (verb === "swap") swaps++;
      if (verb === "readKeys" && swaps >= 453) for (const owner of owners) owner.look();
    };
    const terminal = aTerminal({ env: store });
    expect(await terminal.run("sessions", "close", "--caller", "ada")).toBe(0);
    const outcomes = terminal
      .out()
      .trim()
      .split("\n")
      .map((line) => line.slice(38));
    const count = (words: string) => outcomes.filter((each) => each.startsWith(words)).length;
    expect([count("closed"), count("removed"), count("not there"), count("still")]).toEqual([450, 1, 2, 0]);
    expect(swaps).toBe(453);
    expect(store.held.has(foreign.key)).toBe(true);
    expect(decodeRecord(store.held.get(foreign.key)?.value, foreign.key.slice(8))?.ending).toBeUndefined();
    expect(terminal.events).toEqual([
      { type: "operator_action", action: "sessions_close", target: "caller ada", outcome: "done" },
    ]);
  });

  it("answers 1 when an owner has not ended it in time, 0 when it is not there, 130 at Ctrl-C", async () => {
    const store = anArchive();
    const session = aSession();
    store.put(session, leaseOf("7f3a9c"));
    const terminal = aTerminal({ env: store });
    expect(await terminal.run("sessions", "close", session.key.slice(8), "--wait", "0")).toBe(1);
    expect(terminal.out()).toMatch(/still open: its owner has not ended it yet/);
    expect(await terminal.run("sessions", "close", randomUUID())).toBe(0);
    store.before = (verb) => verb === "readKeys" && terminal.interrupt();
    expect(await terminal.run("sessions", "close", session.key.slice(8))).toBe(130);
    expect(terminal.err()).toMatch(/Stopped: owners end the rest/);
  });

  it.each([
    [[], /Say what: sessions list/],
    [["end"], /Say what: sessions list/],
    [["show"], /Say which: sessions show ID/],
    [["close"], /Say which: sessions close ID/],
    [["close", ID(), "--caller", "ada"], /Say which: sessions close ID/],
    [["show", "../../x"], /A session's id is a UUID/],
    [["list", ID()], /a word too many/],
    [["close", "--caller", ""], /there must be a name/],
    [["list", "--limit", "many"], /--limit must be a whole number/],
  ])("answers 2 for %j", async (args, words) => {
    const store = anArchive();
    const terminal = aTerminal({ env: store });
    expect(await terminal.run("sessions", ...args)).toBe(2);
    expect(terminal.err()).toMatch(words);
    expect(store.commands).toBe(0);
  });
});

function ID() {
  return "0b2f4c1e-6d0a-4a5e-9a57-3f2b8c1d7e90";
}
