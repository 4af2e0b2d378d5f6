import { describe, expect, it } from "vitest";
import type { SessionRecord } from "../../src/session-store/session-store.ts";
import { ALICE, BOB, createCluster } from "./instances.ts";
import { ScriptedStream, settled } from "./scripted.ts";

const CALL = { jsonrpc: "2.0", id: 7, method: "m" };

describe("an upstream that is full", () => {
  it("has room made by the session that has waited longest for its client, and by none that has one", async () => {
    const { start, clock } = createCluster();
    const here = await start("i-1");
    const [one, other, held] = [await here.connect(), await here.connect(BOB), await here.connect()];
    other.stream.close();
    clock.now += 1;
    one.stream.close();
    Object.assign(here.upstream, { isFull: true });
    const fresh = here.sessions.open(ALICE);
    fresh.attach(new ScriptedStream());
    await here.post(fresh, CALL);
    expect([one, other, held, { session: fresh }].map(({ session }) => session.isOpen)).toEqual([
      true,
      false,
      true,
      true,
    ]);
    expect(here.upstream.links.at(-1)?.told).toEqual([CALL]);
  });

  it("does not end the very session that needs a link: one that was claimed and has no stream yet", async () => {
    const { start, store } = createCluster();
    const [here, dead] = [await start("i-1"), await start("i-2")];
    const { session } = await dead.connect();
    await settled();
    await dead.crash();
    Object.assign(here.upstream, { isFull: true });
    const claimed = await here.claims.claim((await store.get(session.id)) as SessionRecord);
    await here.deliver(session.id, CALL);
    expect(claimed?.isOpen).toBe(true);
    expect(here.upstream.links[0]?.told.at(-1)).toEqual(CALL);
  });
});
