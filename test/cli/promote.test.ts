import { describe, expect, it } from "vitest";

import { anArchive, failFrom } from "./an-archive.ts";
import { aHash, aSession, aTerminal, CANARY } from "./a-terminal.ts";

describe("promote", () => {
  it("copies what the mirror lacks, newer versions winning, and says what to set", async () => {
    const stores = { env: anArchive(), other: anArchive() };
    const { id } = { id: aSession().key.slice(8) };
    const newer = aSession({ id, rev: 3 });
    stores.env.put(aSession(), newer, aHash("caller:ada"));
    stores.other.put(aSession({ id, rev: 2 }), aSession());
    const terminal = aTerminal(stores);
    expect(await terminal.run("promote", "--to", "env:OTHER")).toBe(0);
    expect(stores.other.held.get(newer.key)?.value).toBe(newer.value);
    expect(stores.other.living()).toHaveLength(4);
    expect(terminal.out()).toMatch(
      /3 entries copied[^]*1 extra[^]*set SESSION_STORE=redis and REDIS_URL to redis:\/\/other:6379/,
    );
    expect(terminal.out()).not.toContain(CANARY);
  });

  it("answers 1 while somebody still writes to the primary", async () => {
    const stores = { env: anArchive(), other: anArchive() };
    const id = aSession().key.slice(8);
    stores.env.put(aSession({ id, rev: 0 }));
    let rev = 0;
    stores.env.before = () => stores.env.put(aSession({ id, rev: ++rev }));
    const terminal = aTerminal(stores);
    expect(await terminal.run("promote", "--to", "env:OTHER")).toBe(1);
    expect(terminal.out()).toMatch(/Gateways still write to the primary/);
  });

  it("says what cannot be known when the primary is away, and answers 1", async () => {
    const stores = { env: anArchive(), other: anArchive() };
    failFrom(stores.env, "ready", 1);
    stores.other.put(aSession(), aSession(), aHash("caller:ada"));
    const terminal = aTerminal(stores);
    expect(await terminal.run("promote", "--to", "env:OTHER")).toBe(1);
    expect(terminal.out()).toMatch(
      /cannot be reached\.\nredis:\/\/other:6379 holds 2 sessions\.[^]*cannot be known/,
    );
    expect(terminal.out()).toMatch(/unset SESSION_MIRROR/);
    expect(stores.env.closed && stores.other.closed).toBe(true);
  });

  it("answers 3 when the mirror is away, and 2 when both are one", async () => {
    const stores = { env: anArchive(), other: anArchive() };
    failFrom(stores.other, "ready", 1);
    expect(await aTerminal(stores).run("promote", "--to", "env:OTHER")).toBe(3);
    expect(await aTerminal(stores).run("promote", "--to", "redis://env")).toBe(2);
    expect(await aTerminal(stores).run("promote")).toBe(2);
  });
});
