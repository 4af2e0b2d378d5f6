import { randomUUID } from "node:crypto";
import { describe, expect, onTestFinished, test } from "vitest";
import { createRelayKey, sealAnswer, sealAsk, type Sealed } from "../../src/relay/envelope.ts";
import type { Peer, Relay, RelayAnswer, RelayMessage, RelayOutcome } from "../../src/relay/relay.ts";
import { eventually } from "../support/eventually.ts";
import { alterations, untimely } from "./forge.ts";
import { openRelay, SECRET, type Where, type Who } from "./instances.ts";
import { spawnPeer } from "./spawn-peer.ts";

/** A driver under test. */
export interface Way {
  where: Where;
  /** Brings any bytes to an instance, as somebody could who has all but the secret; resolves when they are there. */
  inject: (to: Peer, envelope: Sealed) => Promise<void>;
  /** Two instances between which answers can be lost. */
  openLossy: (sender: Who, peer: Who) => Promise<{ sender: Relay; peer: Relay } & Lossy>;
  end?: () => Promise<void>;
}

interface Lossy {
  /** From now on answers do not come back. */
  swallow: () => void;
  /** Cuts the connections over which they did not; new ones work. */
  cut: () => void;
}

const DEADLINE_MS = 5000;
const key = createRelayKey([SECRET]);

/** What an instance was asked to do, in order. */
interface Recorder extends Who {
  done: { from: string; message: RelayMessage }[];
  kinds(): string[];
}

export function recorder(
  answer: (from: string, message: RelayMessage) => RelayAnswer | Promise<RelayAnswer> = () => ({ ok: true }),
): Recorder {
  const done: Recorder["done"] = [];
  return {
    instanceId: randomUUID(),
    done,
    kinds: () => done.map(({ message }) => message.kind),
    events: {
      onMessage: async (from, message) => {
        done.push({ from, message });
        return answer(from, message);
      },
      onLapse: () => undefined,
    },
  };
}

export const aMessage = (over: Partial<RelayMessage> = {}): RelayMessage => ({
  kind: "post",
  head: { session: "s" },
  bodies: [Buffer.from('{"jsonrpc":"2.0","id":1}')],
  ...over,
});

const BODIES = [
  '{"text":"Zoë, 研究 👩‍🚀, commas, and \\n inside \\u2028"}',
  '{"raw":"\u2028\u2029\u0085 data: message,x,y"}',
  "",
  "1,2,3",
].map((text) => Buffer.from(text));

/** The promises of a relay. */
export function describeRelay(name: string, connect: () => Promise<Way>): void {
  async function way(): Promise<Way> {
    const made = await connect();
    onTestFinished(() => made.end?.());
    return made;
  }

  async function open(where: Where, who: Who): Promise<Relay & Peer> {
    const relay = await openRelay(where, who);
    onTestFinished(() => relay.close());
    return { ...relay, instanceId: who.instanceId };
  }

  async function pair(two = recorder(), one = recorder()) {
    const made = await way();
    const [sender, peer] = await Promise.all([open(made.where, one), open(made.where, two)]);
    return { ...made, sender, peer, one, two };
  }

  describe(`the relay: ${name}`, () => {
    test("carries a message as the same bytes, and the answer back", async () => {
      const answer = { text: "Zoë, \n", list: [1, null], nested: { a: true } };
      const { sender, peer, one, two } = await pair(recorder(() => answer));
      const message = aMessage({ kind: "any words: 研究", head: { a: ["é,\n"], b: null }, bodies: BODIES });
      expect(await sender.send(peer, message, DEADLINE_MS)).toEqual({ kind: "answered", answer });
      expect(two.done).toEqual([{ from: one.instanceId, message }]);
    });

    test("carries messages without a head, without a body, and of a megabyte", async () => {
      const { sender, peer, two } = await pair();
      const large = Buffer.from(JSON.stringify({ text: "é,".repeat(350_000) }));
      const messages = [
        aMessage({ head: {}, bodies: [] }),
        aMessage({ head: {} }),
        aMessage({ bodies: [large] }),
      ];
      for (const message of messages) {
        expect(await sender.send(peer, message, DEADLINE_MS)).toMatchObject({ kind: "answered" });
      }
      const got = two.done.map(({ message }) => message);
      expect(got.slice(0, 2)).toEqual(messages.slice(0, 2));
      expect(got[2]?.bodies[0]?.equals(large)).toBe(true);
    });

    test("works both ways at once, and to oneself", async () => {
      const { sender, peer } = await pair(
        recorder((from) => ({ two: from })),
        recorder((from) => ({ one: from })),
      );
      const outcomes = await Promise.all([
        sender.send(peer, aMessage(), DEADLINE_MS),
        peer.send(sender, aMessage(), DEADLINE_MS),
        peer.send(peer, aMessage(), DEADLINE_MS),
      ]);
      expect(outcomes).toEqual([
        { kind: "answered", answer: { two: sender.instanceId } },
        { kind: "answered", answer: { one: peer.instanceId } },
        { kind: "answered", answer: { two: peer.instanceId } },
      ]);
    });

    test("has each of 1,000 messages carried out once, and gives each its own answer", async () => {
      const { sender, peer, two } = await pair(recorder((_from, { kind }) => ({ kind })));
      const kinds = Array.from({ length: 1000 }, (_, at) => `${at}`);
      const outcomes = await Promise.all(kinds.map((kind) => sender.send(peer, aMessage({ kind }), 20_000)));
      expect(outcomes).toEqual(kinds.map((kind) => ({ kind: "answered", answer: { kind } })));
      expect(two.kinds().toSorted()).toEqual(kinds.toSorted());
    });

    test("has what leaves in one turn carried out once, and holds none of it up for what takes long", async () => {
      let release: (answer: RelayAnswer) => void = () => undefined;
      const slow = new Promise<RelayAnswer>((resolve) => (release = resolve));
      const { sender, peer, two } = await pair(
        recorder((_from, { kind }) => (kind.startsWith("slow") ? slow : { kind })),
      );
      // By its answer the sender learns what the other can do.
      await sender.send(peer, aMessage({ kind: "first" }), DEADLINE_MS);
      const kinds = Array.from({ length: 200 }, (_, at) => (at % 50 === 0 ? `slow ${at}` : `${at}`));
      const sends = kinds.map((kind) => sender.send(peer, aMessage({ kind, bodies: BODIES }), 20_000));
      const fast = kinds.map((kind, at) => ({ kind, outcome: sends[at] as Promise<RelayOutcome> }));
      for (const { kind, outcome } of fast.filter((one) => !one.kind.startsWith("slow"))) {
        expect(await outcome).toEqual({ kind: "answered", answer: { kind } });
      }
      release({ kind: "released" });
      for (const { outcome } of fast.filter(({ kind }) => kind.startsWith("slow"))) {
        expect(await outcome).toEqual({ kind: "answered", answer: { kind: "released" } });
      }
      expect(two.kinds().toSorted()).toEqual(["first", ...kinds].toSorted());
      expect(two.done.slice(1).every(({ message }) => message.bodies.length === BODIES.length)).toBe(true);
    });

    test("keeps the order of messages of which each waits for the one before", async () => {
      const { sender, peer, two } = await pair();
      const kinds = Array.from({ length: 100 }, (_, at) => `${at}`);
      for (const kind of kinds) await sender.send(peer, aMessage({ kind }), DEADLINE_MS);
      expect(two.kinds()).toEqual(kinds);
    });

    test("drops what was altered on its way, whatever was altered", async () => {
      const { inject, sender, peer, two } = await pair();
      const route = { from: sender.instanceId, to: peer.instanceId, deadlineMs: 60_000 };
      const sealed = sealAsk(key, route, aMessage({ kind: "genuine", bodies: BODIES }));
      for (const [what, altered] of alterations(sealed)) {
        await inject(peer, altered);
        await sender.send(peer, aMessage({ kind: "next" }), DEADLINE_MS);
        expect(
          two.kinds().filter((kind) => kind !== "next"),
          what,
        ).toEqual([]);
      }
      await inject(peer, sealed);
      await sender.send(peer, aMessage({ kind: "last" }), DEADLINE_MS);
      expect(two.kinds().filter((kind) => kind !== "next")).toEqual(["genuine", "last"]);
    });

    test("drops what is proven and late, early, relayed twice, or for another instance", async () => {
      const { inject, sender, peer, two } = await pair();
      const route = { from: sender.instanceId, to: peer.instanceId };
      for (const [what, envelope] of untimely(key, route, aMessage({ kind: "wrong" }))) {
        await inject(peer, envelope);
        await sender.send(peer, aMessage({ kind: "next" }), DEADLINE_MS);
        expect(two.kinds(), what).not.toContain("wrong");
      }
    });

    test("drops what is made with another secret", async () => {
      const { where, sender, peer, two } = await pair();
      const stranger = await open(where, { ...recorder(), secret: "another secret" });
      expect(await stranger.send(peer, aMessage({ kind: "wrong" }), 500)).toMatchObject({
        kind: expect.stringMatching(/^(unknown|unreachable)$/),
      });
      await sender.send(peer, aMessage({ kind: "next" }), DEADLINE_MS);
      expect(two.kinds()).toEqual(["next"]);
    });

    test("FLT-16 carries a message out once that is played again", async () => {
      const { inject, sender, peer, two } = await pair();
      const route = { from: sender.instanceId, to: peer.instanceId, deadlineMs: 60_000 };
      const sealed = sealAsk(key, route, aMessage({ kind: "once" }));
      for (let time = 0; time < 5; time += 1) await inject(peer, sealed);
      await sender.send(peer, aMessage({ kind: "next" }), DEADLINE_MS);
      expect(two.kinds()).toEqual(["once", "next"]);
    });

    test("does not take an answer that is not to this message, or not from whom it asked", async () => {
      const made = await way();
      const one = recorder();
      let release: () => void = () => undefined;
      const held = new Promise<void>((resolve) => (release = resolve));
      const two = recorder(async () => (await held, { true: 1 }));
      const [sender, peer] = await Promise.all([open(made.where, one), open(made.where, two)]);
      const outcome = sender.send(peer, aMessage(), DEADLINE_MS);
      const wrong = { from: peer.instanceId, to: sender.instanceId, id: "AAAAAAAAAAAAAAAAAAAAAA" };
      await made.inject(sender, sealAnswer(key, wrong, { false: 1 }));
      release();
      expect(await outcome).toEqual({ kind: "answered", answer: { true: 1 } });
      expect(one.done).toEqual([]);
    });

    test("FLT-17 says dead of an instance that is not there any more", async () => {
      const { where, sender } = await pair();
      const peer = await spawnPeer(where, randomUUID());
      expect(await sender.send(peer, aMessage(), DEADLINE_MS)).toMatchObject({ kind: "answered" });
      await peer.kill();
      // A connection may still be there that does not know of its end yet.
      await sender.send(peer, aMessage(), DEADLINE_MS);
      expect(await sender.send(peer, aMessage(), DEADLINE_MS)).toEqual({ kind: "dead" });
    });

    test("FLT-12 says unknown of a frozen instance, which carries nothing out when it thaws", async () => {
      const { where, sender } = await pair();
      const peer = await spawnPeer(where, randomUUID());
      const first = await sender.send(peer, aMessage({ kind: "before" }), DEADLINE_MS);
      expect(first).toMatchObject({ kind: "answered", answer: { done: ["before"], lapses: 0 } });
      peer.freeze();
      const frozen = ["late 1", "late 2", "late 3"].map((kind) =>
        sender.send(peer, aMessage({ kind }), 1600),
      );
      expect(await Promise.all(frozen)).toEqual(frozen.map(() => ({ kind: "unknown" })));
      peer.thaw();
      for (const kind of ["after 1", "after 2", "after 3"]) {
        expect(await sender.send(peer, aMessage({ kind }), DEADLINE_MS)).toMatchObject({ kind: "answered" });
      }
      const last = await sender.send(peer, aMessage({ kind: "last" }), DEADLINE_MS);
      expect(last).toEqual({
        kind: "answered",
        // It knows that others may have taken it for dead.
        answer: { done: ["before", "after 1", "after 2", "after 3", "last"], lapses: 1 },
      });
    });

    test("FLT-13 carries a message out once whose answer was lost, and gets the same answer", async () => {
      const made = await way();
      let count = 0;
      let arrived: () => void = () => undefined;
      const arrival = new Promise<void>((resolve) => (arrived = resolve));
      const two = recorder((_from, { kind }) => {
        if (kind === "lost") arrived();
        return { count: (count += 1) };
      });
      const lossy = await made.openLossy(recorder(), two);
      onTestFinished(async () => void (await Promise.all([lossy.sender.close(), lossy.peer.close()])));
      const peer = { instanceId: two.instanceId, address: lossy.peer.address };
      await lossy.sender.send(peer, aMessage({ kind: "first" }), DEADLINE_MS);
      lossy.swallow();
      const outcome = lossy.sender.send(peer, aMessage({ kind: "lost" }), 3000);
      await arrival;
      lossy.cut();
      expect(await outcome).toEqual({ kind: "answered", answer: { count: 2 } });
      expect(two.kinds()).toEqual(["first", "lost"]);
    });

    test("FLT-05 tells the truth of each message while connections break, and works when they hold", async () => {
      const made = await way();
      const two = recorder();
      const lossy = await made.openLossy(recorder(), two);
      onTestFinished(async () => void (await Promise.all([lossy.sender.close(), lossy.peer.close()])));
      const peer = { instanceId: two.instanceId, address: lossy.peer.address };
      const sends: Promise<[string, RelayOutcome["kind"]]>[] = [];
      for (let at = 0; at < 200; at += 1) {
        const kind = `${at}`;
        const outcome = lossy.sender.send(peer, aMessage({ kind }), 2000);
        sends.push(outcome.then((one) => [kind, one.kind]));
        if (at % 4 === 0) await new Promise(setImmediate);
        if (at % 10 === 0) lossy.cut();
      }
      const outcomes = await Promise.all(sends);
      await eventually(async () => {
        const next = await lossy.sender.send(peer, aMessage({ kind: "next" }), DEADLINE_MS);
        expect(next).toMatchObject({ kind: "answered" });
      });
      for (const [kind, outcome] of outcomes) {
        const times = two.kinds().filter((one) => one === kind).length;
        const right = { answered: [1], unknown: [0, 1], dead: [0], unreachable: [0] }[outcome];
        expect(right, `${outcome}, and carried out ${times} times`).toContain(times);
      }
    });

    test("says unknown when the answer takes longer than the deadline, and gives it to nobody", async () => {
      let release: (answer: RelayAnswer) => void = () => undefined;
      const slow = new Promise<RelayAnswer>((resolve) => (release = resolve));
      const { sender, peer, two } = await pair(
        recorder((_from, { kind }) => (kind === "slow" ? slow : { kind })),
      );
      expect(await sender.send(peer, aMessage({ kind: "slow" }), 400)).toEqual({ kind: "unknown" });
      release({ kind: "slow" });
      expect(await sender.send(peer, aMessage({ kind: "next" }), DEADLINE_MS)).toEqual({
        kind: "answered",
        answer: { kind: "next" },
      });
      expect(two.kinds()).toEqual(["slow", "next"]);
    });

    test("says unknown when what was asked fails over there, and goes on", async () => {
      const { sender, peer } = await pair(
        recorder((_from, { kind }) => (kind === "bad" ? Promise.reject(new Error("no")) : { kind })),
      );
      expect(await sender.send(peer, aMessage({ kind: "bad" }), 300)).toEqual({ kind: "unknown" });
      expect(await sender.send(peer, aMessage({ kind: "ok" }), DEADLINE_MS)).toMatchObject({
        kind: "answered",
      });
    });

    test("says unreachable of an address that is not one of its own kind", async () => {
      const { sender, peer } = await pair();
      for (const address of [
        "",
        "pigeon",
        "http://example.com",
        "https://127.0.0.1:1",
        "redis://127.0.0.1",
      ]) {
        const outcome = await sender.send({ ...peer, address }, aMessage(), DEADLINE_MS);
        expect([address, outcome]).toEqual([address, { kind: "unreachable" }]);
      }
    });

    test("says unreachable of a message that is too large, and of any once it is closed", async () => {
      const { sender, peer, two } = await pair();
      const large = aMessage({ bodies: [Buffer.alloc(16 * 1024 * 1024, "x")] });
      expect(await sender.send(peer, large, DEADLINE_MS)).toEqual({ kind: "unreachable" });
      await sender.close();
      await sender.close();
      expect(await sender.send(peer, aMessage(), DEADLINE_MS)).toEqual({ kind: "unreachable" });
      expect(two.done).toEqual([]);
    });

    test("settles what is under way when it is closed", async () => {
      const asked: (() => void)[] = [];
      const arrival = new Promise<void>((resolve) => asked.push(resolve));
      const { sender, peer } = await pair(
        recorder(() => (asked[0]?.(), new Promise<RelayAnswer>(() => undefined))),
      );
      const outcome = sender.send(peer, aMessage(), 60_000);
      await arrival;
      await sender.close();
      expect(await outcome).toEqual({ kind: "unknown" });
    });

    test("leaves nothing behind when it is closed twice: the process ends by itself", async () => {
      const { where, sender } = await pair();
      const peer = await spawnPeer(where, randomUUID());
      expect(await sender.send(peer, aMessage(), DEADLINE_MS)).toMatchObject({ kind: "answered" });
      expect(await peer.close()).toBe(0);
    });
  });
}
