import { expect, test } from "vitest";
import type { Mark } from "../../src/relay/envelope.ts";
import { createJoin } from "../../src/relay/join.ts";
import { readJoined } from "../../src/relay/joined.ts";
import type { Peer, RelayAnswer, RelayMessage, RelayOutcome } from "../../src/relay/relay.ts";
import { aMessage } from "./conformance.ts";

const PEER: Peer = { instanceId: "two", address: "http://127.0.0.1:1" };

interface Sent extends Mark {
  to: Peer;
  message: RelayMessage;
  deadlineMs: number;
  isGone: (() => Promise<boolean>) | undefined;
  /** Kinds of the messages in it. */
  kinds: string[];
}

/** `say` answers what is sent, in order; each message in a joined one by `answer`. */
function open(say: (sent: Sent, at: number) => RelayOutcome | undefined = () => undefined) {
  const sent: Sent[] = [];
  const join = createJoin(async (to, message, deadlineMs, mark, isGone) => {
    const parts = readJoined(message);
    const kinds = parts?.map((part) => part.message.kind) ?? [message.kind];
    const one = { ...mark, to, message, deadlineMs, isGone, kinds };
    sent.push(one);
    return (
      say(one, sent.length - 1) ?? { kind: "answered", answer: parts ? answers(kinds) : { to: kinds[0] } }
    );
  });
  const sendAll = (
    kinds: readonly string[],
    over: Partial<RelayMessage> = {},
    to = PEER,
    deadlineMs = 1000,
  ) => Promise.all(kinds.map((kind) => join.send(to, aMessage({ kind, ...over }), deadlineMs)));
  return { join, sent, sendAll };
}

const answers = (kinds: readonly string[], pending: readonly string[] = []): RelayAnswer => ({
  answers: kinds.map((to) => (pending.includes(to) ? null : { to })),
});
const answered = (kinds: readonly string[]) => kinds.map((to) => ({ kind: "answered", answer: { to } }));
const range = (count: number) => Array.from({ length: count }, (_, at) => `${at}`);

test("sends what leaves in one turn as one message, in order, and gives each its own answer", async () => {
  const { join, sent, sendAll } = open();
  join.learn("two");
  expect(await sendAll(["a", "b", "c"])).toEqual(answered(["a", "b", "c"]));
  expect(sent.map(({ kinds }) => kinds)).toEqual([["a", "b", "c"]]);
  const parts = readJoined(sent[0]?.message as RelayMessage) ?? [];
  expect(parts.map(({ message }) => message)).toEqual(["a", "b", "c"].map((kind) => aMessage({ kind })));
  expect(new Set([sent[0]?.id, ...parts.map(({ id }) => id)]).size).toBe(4);
});

test("sends a message by itself when no other leaves with it", async () => {
  const { join, sent, sendAll } = open();
  join.learn("two");
  for (const kind of ["a", "b"]) expect(await sendAll([kind])).toEqual(answered([kind]));
  expect(sent.map(({ message }) => message)).toEqual(["a", "b"].map((kind) => aMessage({ kind })));
});

test("joins nothing for an instance that has not said that it takes it", async () => {
  const { join, sent, sendAll } = open();
  join.learn("somebody else");
  expect(await sendAll(["a", "b"])).toEqual(answered(["a", "b"]));
  expect(sent.map(({ kinds }) => kinds)).toEqual([["a"], ["b"]]);
});

test("keeps apart what is for another instance, another address, or another deadline", async () => {
  const { join, sent, sendAll } = open();
  for (const id of ["two", "three"]) join.learn(id);
  const [third, moved] = [
    { ...PEER, instanceId: "three" },
    { ...PEER, address: "http://127.0.0.1:2" },
  ];
  await Promise.all([
    sendAll(["a", "b"]),
    sendAll(["c", "d"], {}, third),
    sendAll(["e", "f"], {}, moved),
    sendAll(["g", "h"], {}, PEER, 2000),
    sendAll(["i"]),
  ]);
  expect(sent.map(({ kinds, to, deadlineMs }) => [kinds.join(""), to, deadlineMs])).toEqual([
    ["abi", PEER, 1000],
    ["cd", third, 1000],
    ["ef", moved, 1000],
    ["gh", PEER, 2000],
  ]);
});

test("joins at most 64 messages and 256 kB, and none that is long", async () => {
  const { join, sent, sendAll } = open();
  join.learn("two");
  await sendAll(range(65));
  await sendAll(range(17), { bodies: [Buffer.alloc(16 * 1024)] });
  await sendAll(range(2), { bodies: [Buffer.alloc(16 * 1024), Buffer.alloc(1)] });
  expect(sent.map(({ kinds }) => kinds.length)).toEqual([64, 1, 16, 1, 1, 1]);
});

test("asks by itself for each when the answer to all was lost", async () => {
  const { join, sent, sendAll } = open((_sent, at) => (at === 0 ? { kind: "unknown" } : undefined));
  join.learn("two");
  expect(await sendAll(["a", "b"])).toEqual(answered(["a", "b"]));
  expect(sent.map(({ kinds }) => kinds)).toEqual([["a", "b"], ["a"], ["b"]]);
  const lost = open(() => ({ kind: "unknown" }));
  lost.join.learn("two");
  expect(await lost.sendAll(["a", "b"])).toEqual([{ kind: "unknown" }, { kind: "unknown" }]);
});

test("sends what waits for the same instance before a long message that cannot travel with it", async () => {
  const { join, sent } = open();
  join.learn("two");
  const long = aMessage({ kind: "long", bodies: [Buffer.alloc(16 * 1024 + 1)] });
  await Promise.all([join.send(PEER, aMessage({ kind: "short" }), 1000), join.send(PEER, long, 1000)]);
  expect(sent.map(({ kinds }) => kinds)).toEqual([["short"], ["long"]]);
});

test("sends single messages for a while to an instance that could not answer most of a batch at once", async () => {
  const { join, sent, sendAll } = open((one) =>
    one.kinds.length > 1 ? { kind: "answered", answer: answers(one.kinds, ["a", "b"]) } : undefined,
  );
  join.learn("two");
  await sendAll(["a", "b", "c"]);
  join.learn("two");
  await sendAll(["d", "e"]);
  expect(sent.map(({ kinds }) => kinds.join(""))).toEqual(["abc", "a", "b", "d", "e"]);
});

test.each(["dead", "unreachable"] as const)(
  "says %s of each when that is what became of them",
  async (kind) => {
    const { join, sent, sendAll } = open(() => ({ kind }));
    join.learn("two");
    expect(await sendAll(["a", "b"])).toEqual([{ kind }, { kind }]);
    expect(sent).toHaveLength(1);
  },
);

test("asks by itself, under the mark that it had, for an answer that was not there yet", async () => {
  const { join, sent, sendAll } = open((_sent, at) =>
    at === 0 ? { kind: "answered", answer: answers(["a", "b", "c"], ["b"]) } : undefined,
  );
  join.learn("two");
  expect(await sendAll(["a", "b", "c"])).toEqual(answered(["a", "b", "c"]));
  expect(sent.map(({ kinds }) => kinds)).toEqual([["a", "b", "c"], ["b"]]);
  const [joined, again] = sent as [Sent, Sent];
  expect(again.id).toBe(readJoined(joined.message)?.[1]?.id);
  expect(again.sentAt).toBe(joined.sentAt);
  expect(again.message).toEqual(aMessage({ kind: "b" }));
  expect(again.deadlineMs).toBeLessThanOrEqual(1000);
});

test("says unknown of what has been begun, whatever the second asking fails with", async () => {
  for (const kind of ["dead", "unreachable", "unknown"] as const) {
    const { join, sendAll } = open((_sent, at) =>
      at === 0 ? { kind: "answered", answer: { answers: [] } } : { kind },
    );
    join.learn("two");
    const taken = { kind: "unknown", wasTaken: true };
    expect(await sendAll(["a", "b"])).toEqual([taken, taken]);
  }
});

test("asks by itself for each when the answer to all is none", async () => {
  for (const odd of [{}, { answers: "x" }, { answers: [1, "x"] }]) {
    const { join, sendAll } = open((_sent, at) => (at === 0 ? { kind: "answered", answer: odd } : undefined));
    join.learn("two");
    expect(await sendAll(["a", "b"])).toEqual(answered(["a", "b"]));
  }
});

test("passes on the question whether the instance has ended", async () => {
  const { join, sent } = open();
  join.learn("two");
  const isGone = async () => true;
  await Promise.all(["a", "b"].map((kind) => join.send(PEER, aMessage({ kind }), 1000, isGone)));
  await join.send(PEER, aMessage(), 1000, isGone);
  expect(sent.map((one) => one.isGone)).toEqual([isGone, isGone]);
});
