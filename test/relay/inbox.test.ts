import { afterEach, expect, test, vi } from "vitest";
import { createLog } from "../../src/log.ts";
import { createRelayKey, openAnswer, sealAsk, type Sealed } from "../../src/relay/envelope.ts";
import { createInbox, HELLO } from "../../src/relay/inbox.ts";
import { aMessage, recorder } from "./conformance.ts";

const key = createRelayKey(["secret"]);
const log = createLog("silent");
afterEach(() => void vi.restoreAllMocks());

function open(two = recorder()) {
  const inbox = createInbox({ ...two, key, log });
  const ask = (kind = "post", deadlineMs = 1000): Sealed =>
    sealAsk(key, { from: "one", to: two.instanceId, deadlineMs }, aMessage({ kind }));
  const take = async ({ seal, payload }: Sealed) => {
    const admission = inbox.admit(seal);
    return admission.kind === "admitted" ? admission.carryOut(payload) : admission.kind;
  };
  return { inbox, two, ask, take };
}

/** The process sleeps for so long, and its clock goes on. */
function oversleep(milliseconds: number): void {
  const now = Date.now();
  vi.spyOn(Date, "now").mockReturnValue(now + milliseconds);
}

test("carries nothing out whose deadline passed while its payload was read", async () => {
  const { inbox, two, ask } = open();
  const { seal, payload } = ask();
  const admission = inbox.admit(seal);
  oversleep(1001);
  expect(admission.kind === "admitted" && (await admission.carryOut(payload))).toBe("refused");
  expect(two.done).toEqual([]);
});

test("says nothing of what ends after its deadline, also when no timer could run meanwhile", async () => {
  const { ask, take } = open(recorder(() => (oversleep(1001), { ok: true })));
  expect(await take(ask())).toBe("silent");
});

test("says nothing of what does not end", async () => {
  const { ask, take } = open(recorder(() => new Promise(() => undefined)));
  expect(await take(ask("post", 50))).toBe("silent");
});

test("answers a message that comes again while it is carried out, and after that, with the first answer", async () => {
  let count = 0;
  const { ask, take, two } = open(recorder(() => ({ count: (count += 1) })));
  const sealed = ask();
  const answers = [...(await Promise.all([take(sealed), take(sealed)])), await take(sealed)];
  for (const answer of answers) expect(openAnswer(key, answer as Sealed)?.answer).toEqual({ count: 1 });
  expect(two.done).toHaveLength(1);
});

test("does not remember a message whose payload was exchanged, so that the right one is carried out", async () => {
  const { ask, take, two } = open();
  const sealed = ask();
  expect(await take({ ...sealed, payload: Buffer.from("{}\n") })).toBe("refused");
  expect(await take(sealed)).toBeTypeOf("object");
  expect(two.done).toHaveLength(1);
});

test(
  "remembers 20,000 messages, and takes none that it may have forgotten",
  { timeout: 30_000 },
  async () => {
    const { ask, take, two } = open();
    const first = ask("first", 60_000);
    const now = vi.spyOn(Date, "now").mockReturnValue(Date.now());
    await take(first);
    now.mockReturnValue(Date.now() + 1);
    for (let at = 0; at < 20_000; at += 1) await take(ask("more", 60_000));
    expect(await take(first)).toBe("refused");
    now.mockReturnValue(Date.now() + 1);
    expect(await take(ask("new"))).toBeTypeOf("object");
    expect(two.kinds().filter((kind) => kind !== "more")).toEqual(["first", "new"]);
  },
);

test("answers a hello by itself", async () => {
  const { two, take } = open();
  const hello = sealAsk(key, { from: "one", to: two.instanceId, deadlineMs: 1000 }, HELLO);
  expect(openAnswer(key, (await take(hello)) as Sealed)?.from).toBe(two.instanceId);
  expect(two.done).toEqual([]);
});

test("tells the sender of a misdirected message who is here", async () => {
  const { inbox, two } = open();
  const { seal, id } = sealAsk(key, { from: "one", to: "somebody else", deadlineMs: 1000 }, aMessage());
  const admission = inbox.admit(seal);
  expect(admission.kind === "misdirected" && openAnswer(key, admission.reply)).toMatchObject({
    id,
    from: two.instanceId,
    to: "one",
  });
});

test("takes nothing more once it is closed, and is idle when what it took is done", async () => {
  let finish: (answer: { ok: true }) => void = () => undefined;
  const { inbox, ask, take } = open(recorder(() => new Promise((resolve) => (finish = resolve))));
  const taken = take(ask());
  const { seal, payload } = ask();
  const late = inbox.admit(seal);
  inbox.close();
  expect(await take(ask())).toBe("refused");
  expect(late.kind === "admitted" && (await late.carryOut(payload))).toBe("refused");
  finish({ ok: true });
  expect(await taken).toBeTypeOf("object");
});
