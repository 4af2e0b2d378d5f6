import { expect, it } from "vitest";
import { ALICE, createCluster } from "./instances.ts";
import { reasonOf } from "./open-session.ts";
import { settled } from "./scripted.ts";

const CALL = { jsonrpc: "2.0", id: 7, method: "m" };

/** An instance that has claimed a dead owner's session, and reads its journal, which takes as long as the test says. */
async function open() {
  const { start, store } = createCluster();
  const [here, there] = [await start("i-1"), await start("i-2")];
  const { session } = await there.connect();
  await settled();
  await there.crash();
  let read = (): void => undefined;
  const held = new Promise<void>((resolve) => (read = resolve));
  const { readJournal } = store;
  store.readJournal = async (...which) => (await held, readJournal(...which));
  const first = here.deliver(session.id, CALL);
  await settled();
  expect(await store.get(session.id)).toMatchObject({ owner: "i-1" });
  expect(here.sessions.find(session.id)).toBeUndefined();
  return { here, id: session.id, first, read: () => read() };
}

it("a message for a session that is being claimed waits for it, and is not told that there is none", async () => {
  const { here, id, first, read } = await open();
  const expected = reasonOf(here.elsewhere.expect(id, "alice"));
  const second = here.deliver(id, { ...CALL, id: 8 });
  await settled();
  read();
  expect(await expected).toBe("given");
  await Promise.all([first, second]);
  expect(here.upstream.links[0]?.told.slice(-2)).toMatchObject([{ id: 7 }, { id: 8 }]);
});

it("another caller's, or another transport's, is still told that there is none", async () => {
  const { here, id, first, read } = await open();
  const others = [
    reasonOf(here.elsewhere.expect(id, "bob")),
    reasonOf(here.elsewhere.expect(id, "alice", { transport: "streamable" })),
    reasonOf(here.deliver(id, { ...CALL, id: 8 }, "bob")),
  ];
  await settled();
  read();
  await first;
  expect(await Promise.all(others)).toEqual(["session_not_found", "session_not_found", "session_not_found"]);
});

it("a session that is being claimed is ended for good when its client says so", async () => {
  const { start, store } = createCluster();
  const here = await start("i-1");
  const session = here.sessions.open(ALICE, { transport: "streamable" });
  await here.sessions.beat();
  await settled();
  expect(await store.get(session.id)).toMatchObject({ owner: "i-1" });
  await here.elsewhere.end(session.id, "alice");
  expect(session.isOpen).toBe(false);
});
