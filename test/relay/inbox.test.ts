import { afterEach, expect, test, vi } from "vitest";
import { createLog } from "../../src/log.ts";
import { createRelayKey, openAnswer, sealAsk, type Sealed } from "../../src/relay/envelope.ts";
import { createInbox, HELLO } from "../../src/relay/inbox.ts";
import { JOINED, joinMessages } from "../../src/relay/joined.ts";
import type { RelayMessage } from "../../src/relay/relay.ts";
import { aMessage, recorder } from "./conformance.ts";

const key = createRelayKey(["secret"]);
const log = createLog("silent");
afterEach(() => void vi.restoreAllMocks());

function open(two = recorder()) {
  const inbox = createInbox({ ...two, key, log });
  const ask = (kind = "post", deadlineMs = 1000): Sealed =>
    sealAsk(key, { from: "one", to: two.instanceId, deadlineMs }, aMessage({ kind }));
  const seal = (message: RelayMessage, mark = { id: "x", sentAt: Date.now() }): Sealed =>
    sealAsk(key, { from: "one", to: two.instanceId, deadlineMs: 1000 }, message, mark);
  const take = async ({ seal, payload }: Sealed) => {
    const admission = inbox.admit(seal);
    return admission.kind === "admitted" ? admission.carryOut(payload) : admission.kind;
  };
  return { inbox, two, ask, seal, take };
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

test("remembers 20,000 messages, and takes none that it may have forgotten", async () => {
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
});

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

const joined = (kinds: readonly string[]): RelayMessage =>
  joinMessages(kinds.map((kind) => ({ id: kind, message: aMessage({ kind }) })));
const answerIn = (sealed: unknown) => openAnswer(key, sealed as Sealed)?.answer;

test("carries out the messages in a joined one, in order, and answers each", async () => {
  const { seal, take, two } = open(recorder((from, { kind }) => ({ from, kind })));
  const answer = answerIn(await take(seal(joined(["a", "b", HELLO.kind]))));
  expect(answer).toEqual({ answers: [{ from: "one", kind: "a" }, { from: "one", kind: "b" }, {}] });
  expect(two.done).toEqual(["a", "b"].map((kind) => ({ from: "one", message: aMessage({ kind }) })));
});

test("FLT-16 carries a message out once that comes joined, by itself, and joined again", async () => {
  let count = 0;
  const { seal, take, two } = open(recorder(() => ({ count: (count += 1) })));
  const [both, mark] = [seal(joined(["a", "b"])), { id: "b", sentAt: Date.now() }];
  for (let time = 0; time < 2; time += 1) {
    expect(answerIn(await take(both))).toEqual({ answers: [{ count: 1 }, { count: 2 }] });
    expect(answerIn(await take(seal(aMessage({ kind: "b" }), mark)))).toEqual({ count: 2 });
  }
  const other = seal(joined(["b", "a"]), { id: "y", sentAt: Date.now() });
  expect(answerIn(await take(other))).toEqual({ answers: [{ count: 2 }, { count: 1 }] });
  expect(two.kinds()).toEqual(["a", "b"]);
});

test("answers what is done soon, and what takes long when it is asked for by itself", async () => {
  let finish: (answer: { late: true }) => void = () => undefined;
  const late = new Promise<{ late: true }>((resolve) => (finish = resolve));
  const { seal, take, two } = open(recorder((_from, { kind }) => (kind === "slow" ? late : { kind })));
  expect(answerIn(await take(seal(joined(["slow", "fast"]))))).toEqual({ answers: [null, { kind: "fast" }] });
  const again = take(seal(aMessage({ kind: "slow" }), { id: "slow", sentAt: Date.now() }));
  finish({ late: true });
  expect(answerIn(await again)).toEqual({ late: true });
  expect(two.kinds()).toEqual(["slow", "fast"]);
});

test("goes on when one of those that are joined fails, and says nothing of that one", async () => {
  const fails = recorder((_from, { kind }) => (kind === "bad" ? Promise.reject(new Error("no")) : { kind }));
  const { seal, take } = open(fails);
  expect(answerIn(await take(seal(joined(["bad", "good"]))))).toEqual({ answers: [null, { kind: "good" }] });
  expect(await take(seal(aMessage({ kind: "bad" }), { id: "bad", sentAt: Date.now() }))).toBe("silent");
});

test("says nothing to messages that are joined and not whole, and carries none of them out", async () => {
  const { seal, take, two } = open();
  expect(await take(seal({ ...joined(["a", "b"]), bodies: [] }))).toBe("silent");
  expect(
    await take(seal({ ...joined(["a"]), kind: JOINED, head: {} }, { id: "z", sentAt: Date.now() })),
  ).toBe("silent");
  expect(two.done).toEqual([]);
});

test("has answers that are long together fetched one by one", async () => {
  const long = { text: "x".repeat(200_000) };
  const { seal, take, two } = open(recorder(() => long));
  expect(answerIn(await take(seal(joined(["a", "b"]))))).toEqual({ answers: [] });
  expect(answerIn(await take(seal(aMessage({ kind: "b" }), { id: "b", sentAt: Date.now() })))).toEqual(long);
  expect(two.kinds()).toEqual(["a", "b"]);
});

test("knows a message again that was joined by when it was sent, however late it is asked for", async () => {
  const { seal, take } = open();
  const now = vi.spyOn(Date, "now").mockReturnValue(Date.now());
  const sentAt = Date.now();
  await take(seal(joined(["a"])));
  now.mockReturnValue(sentAt + 500);
  for (let at = 0; at < 20_000; at += 1) await take(seal(HELLO, { id: `${at}`, sentAt: sentAt + 500 }));
  expect(await take(seal(aMessage({ kind: "a" }), { id: "a", sentAt }))).toBe("refused");
});
