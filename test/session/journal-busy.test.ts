import { expect, it, vi } from "vitest";
import { Journals } from "../../src/session/journal.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import { settled, silent } from "./scripted.ts";

it("a request is removed a second after its answer also while others follow each other without a pause", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  try {
    const store = createMemorySessionStore();
    const journal = new Journals({ store, ttlSeconds: 60, log: silent }).open("a", 1);
    for (let id = 1; id <= 60; id += 1) {
      await journal.accepted(String(id), Buffer.from("{}"), `lane${id}`);
      journal.settled(String(id), `lane${id}`);
      await vi.advanceTimersByTimeAsync(50);
      await settled();
    }
    const left = [...(await store.readJournal("a", 1)).keys()];
    expect(left).not.toContain("rlane1:1");
    expect(left.length).toBeLessThan(30);
  } finally {
    vi.useRealTimers();
  }
});
