import { describe, expect, it } from "vitest";
import { ALICE, BACK, createCluster, NAMED } from "./instances.ts";
import { settled } from "./scripted.ts";
import { eventually } from "../support/eventually.ts";

/** Two instances: the second goes down, and has said so, but has not let go of its session. */
async function open(visitor = ALICE) {
  const cluster = createCluster();
  const [here, there] = [await cluster.start("i-1"), await cluster.start("i-2")];
  const { session, stream } = await there.connect(visitor);
  stream.close();
  await settled();
  await there.sessions.lease.drain();
  const last = { last: { sessionId: session.id, sequence: 4 }, protocolVersion: undefined };
  return { ...cluster, here, there, session, stream, last };
}

describe("a client that comes back while the owner of its session goes down", () => {
  it.each([
    ["that has a name", NAMED],
    ["that has none", ALICE],
  ])("%s is told to come again, and gets its session when that was let go of", async (_which, visitor) => {
    const { here, there, session, last } = await open(visitor);
    expect(await here.reception.findAnywhere(visitor, BACK)).toBe("later");
    expect(await here.reception.findAnywhere(visitor, last)).toBe("later");
    await there.sessions.drain(AbortSignal.timeout(5000));
    expect(await here.reception.findAnywhere(visitor, BACK)).toMatchObject({
      session: { id: session.id, epoch: 2 },
    });
  });

  it("does not take it for dead because its door is closed, also when its lease was not asked for before", async () => {
    const { here, network, store, session, last } = await open();
    network.kill("i-2");
    const { getLease } = store;
    let looks = 0;
    // The lease that is looked at first is older than its word that it goes.
    store.getLease = async (id) => {
      const lease = await getLease(id);
      looks += 1;
      return lease && looks === 1 ? { ...lease, state: "serving" as const } : lease;
    };
    expect(await here.reception.findAnywhere(ALICE, last)).toBe("later");
    looks = 0;
    expect(await here.reception.findAnywhere(ALICE, BACK)).toBe("later");
    expect(await store.get(session.id)).toMatchObject({ owner: "i-2", epoch: 1 });
  });

  it("gets its session soon when the owner is killed in the middle of that: its last word is not believed for long", async () => {
    const { here, network, clock, session } = await open();
    network.kill("i-2");
    clock.now += 14_999;
    expect(await here.reception.findAnywhere(ALICE, BACK)).toBe("later");
    clock.now += 2;
    expect(await here.reception.findAnywhere(ALICE, BACK)).toMatchObject({
      session: { id: session.id, epoch: 2 },
    });
  });

  it("is not told to come again for a session that is another caller's, or one of two without names", async () => {
    const { here, last } = await open();
    expect(await here.reception.findAnywhere({ ...ALICE, caller: "bob" }, last)).toBeUndefined();
    expect(await here.reception.findAnywhere({ ...ALICE, caller: "bob" }, BACK)).toBeUndefined();
    await here.connect(ALICE);
    expect(await here.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
  });

  it("has its messages waited with, and given to the next owner", async () => {
    const { here, there, network, session } = await open();
    network.mishap = ({ kind }) => (kind === "post" ? "dead" : undefined);
    const given = here.deliver(session.id, { jsonrpc: "2.0", id: 7, method: "m" });
    await eventually(() => network.count("post") > 0);
    expect(here.sessions.count).toBe(0);
    await there.sessions.drain(AbortSignal.timeout(5000));
    await given;
    expect(here.upstream.links[0]?.told.at(-1)?.id).toBe(7);
  });
});

describe("an instance that goes down", () => {
  it("says so as long as it takes, however long that is", async () => {
    const { there, store, clock } = await open();
    for (let second = 0; second < 60; second += 1) {
      clock.now += 1000;
      await there.sessions.beat();
      expect(await store.getLease("i-2")).toMatchObject({ state: "draining" });
    }
  });
});
