import { describe, expect, it } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import type { SessionRecord } from "../../src/session-store/session-store.ts";
import { ALICE, BOB, createCluster } from "./instances.ts";
import { reasonOf } from "./open-session.ts";
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

  it("has room made by another, although the one that needs it has waited for longest", async () => {
    const { start, store, clock } = createCluster();
    const [here, dead] = [await start("i-1"), await start("i-2")];
    const { session } = await dead.connect();
    await settled();
    await dead.crash();
    await here.claims.claim((await store.get(session.id)) as SessionRecord);
    clock.now += 1;
    const other = await here.connect(BOB);
    other.stream.close();
    Object.assign(here.upstream, { isFull: true });
    await here.deliver(session.id, CALL);
    expect([here.sessions.find(session.id)?.isOpen, other.session.isOpen]).toEqual([true, false]);
  });

  it("keeps a session that can have no link: its message is refused, and its client may try again", async () => {
    const { start, store } = createCluster();
    const [here, dead] = [await start("i-1"), await start("i-2")];
    const { session } = await dead.connect();
    await settled();
    await dead.crash();
    Object.assign(here.upstream, { isFull: true });
    here.upstream.failures.push(new GatewayError("upstream_queue_full"));
    expect(await reasonOf(here.deliver(session.id, CALL))).toBe("upstream_queue_full");
    expect(here.sessions.find(session.id)?.isOpen).toBe(true);
    expect(await store.get(session.id)).toMatchObject({ owner: "i-1", epoch: 2 });
    await here.deliver(session.id, { ...CALL, id: 8 });
    expect(here.upstream.links[0]?.told.at(-1)).toEqual({ ...CALL, id: 8 });
  });
});
