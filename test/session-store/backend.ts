import { randomUUID } from "node:crypto";

import { expect } from "vitest";

import { GatewayError } from "../../src/errors.ts";
import type { JournalChange, SessionStore } from "../../src/session-store/session-store.ts";
import type { Reply, RespConnection } from "../support/upstash-resp.ts";
import { aLease, aRecord } from "./records.ts";

/** Expiry, in seconds, of what a test does not wait for. */
export const TTL = 60;

/** A backend under test, with two stores opened over it that know nothing of each other. */
export interface Backend {
  one: SessionStore;
  other: SessionStore;
  /** What a backend outside this process allows: to look at its keys, to plant some, and to take the backend away. */
  outside?: Outside;
  /** Ends whatever is not the stores. */
  end?: () => Promise<void>;
}

export interface Outside extends Keys {
  unplug: () => Promise<void>;
}

/** The keys of a Redis, past any store. */
export interface Keys {
  plant: (key: string, text: string) => Promise<void>;
  peek: (key: string) => Promise<string | undefined>;
  plantField: (key: string, field: string, text: string) => Promise<void>;
  fields: (key: string) => Promise<Record<string, string>>;
  /** -1 for a key that never expires, -2 for none. */
  secondsLeft: (key: string) => Promise<number>;
}

const textOf = (reply: Reply | undefined): string | undefined =>
  reply?.kind === "bulk" ? reply.bytes.toString() : undefined;

export const keysOf = (raw: RespConnection): Keys => ({
  plant: async (key, text) => void (await raw.send([["SET", key, text, "EX", `${TTL}`]])),
  peek: async (key) => textOf((await raw.send([["GET", key]]))[0]),
  plantField: async (key, field, text) =>
    void (await raw.send([
      ["HSET", key, field, text],
      ["EXPIRE", key, `${TTL}`],
    ])),
  fields: async (key) => {
    const [reply] = await raw.send([["HGETALL", key]]);
    const flat = reply?.kind === "array" ? reply.items.map((item) => textOf(item) ?? "") : [];
    return Object.fromEntries(flat.flatMap((name, at) => (at % 2 ? [] : [[name, flat[at + 1] ?? ""]])));
  },
  secondsLeft: async (key) => {
    const [reply] = await raw.send([["TTL", key]]);
    return reply?.kind === "integer" ? Number(reply.digits) : Number.NaN;
  },
});

export const rejectsUnavailable = (work: Promise<unknown>): Promise<unknown> =>
  expect(work).rejects.toSatisfy(
    (error) => error instanceof GatewayError && error.reason === "store_unavailable",
  );

/** A change that puts texts under names. */
export const aChange = (
  put: Record<string, string> = { entry: "{}" },
  over: Partial<JournalChange> = {},
): JournalChange => ({
  id: randomUUID(),
  epoch: 0,
  put: new Map(Object.entries(put).map(([name, text]) => [name, Buffer.from(text)])),
  drop: [],
  ...over,
});

/** Every verb there is, called once. */
export const everyVerb = (store: SessionStore): [string, () => Promise<unknown>][] => [
  ["create", () => store.create(aRecord(), TTL)],
  ["get", () => store.get(randomUUID())],
  ["replace", () => store.replace(aRecord(), aRecord(), TTL)],
  ["extend", () => store.extend([randomUUID(), randomUUID()], TTL)],
  ["remove", () => store.remove([randomUUID()])],
  ["removeIf", () => store.removeIf(aRecord())],
  ["putLease", () => store.putLease(aLease(), TTL)],
  ["getLease", () => store.getLease(randomUUID())],
  ["removeLease", () => store.removeLease(randomUUID())],
  ["enlist", () => store.enlist("client", randomUUID(), {}, TTL)],
  ["trace", () => store.trace("client")],
  ["delist", () => store.delist("client", randomUUID())],
  ["seat", () => store.seat("caller", randomUUID(), "owner", TTL)],
  ["unseat", () => store.unseat("caller", [randomUUID()])],
  ["seatsOf", () => store.seatsOf("caller")],
  ["writeJournals", () => store.writeJournals([aChange(), aChange()], TTL)],
  ["readJournal", () => store.readJournal(randomUUID(), 0)],
  ["removeJournal", () => store.removeJournal(randomUUID(), 0)],
  ["ready", () => store.ready()],
];
