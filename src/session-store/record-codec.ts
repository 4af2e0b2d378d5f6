import type { Log } from "../log.ts";
import type { Lease, SessionRecord } from "./session-store.ts";

type Members = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const areStrings = (...values: unknown[]): boolean => values.every((value) => typeof value === "string");

const isListOfStrings = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === "string");

function parseObject(text: unknown): Members | undefined {
  if (typeof text !== "string") return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The record as JSON, its members always in this order, so that equal records are equal texts: `replace` and
 * `removeIf` compare texts.
 */
export function encodeRecord(record: SessionRecord): string {
  const { v, id, owner, epoch, rev, caller, key, server, transport, createdAt, client } = record;
  const { initialize, logLevel, subscriptions, released, ending } = record;
  const { userAgent, address, clientId } = client;
  // Members that are undefined are not in the JSON.
  return JSON.stringify({
    v,
    id,
    owner,
    epoch,
    rev,
    caller,
    key,
    server,
    transport,
    createdAt,
    client: { userAgent, address, clientId },
    initialize,
    logLevel,
    subscriptions,
    released,
    ending,
  });
}

/** The record in `text` if it is whole, of this version and the one called `id`; undefined otherwise. Never throws. */
export function decodeRecord(text: unknown, id: string): SessionRecord | undefined {
  const found = parseObject(text) as Partial<SessionRecord> | undefined;
  if (found?.v !== 1 || found.id !== id || (found.transport !== "sse" && found.transport !== "streamable"))
    return undefined;
  const { owner, epoch, caller, server, createdAt, initialize, logLevel } = found;
  const subscriptions: unknown = found.subscriptions;
  const { rev, key, released, ending }: Members = found;
  const client: unknown = found.client;
  if (!areStrings(owner, caller, server, createdAt) || !Number.isSafeInteger(epoch)) return undefined;
  if (!isObject(client) || !areStrings(client["userAgent"], client["address"])) return undefined;
  if (client["clientId"] !== undefined && !areStrings(client["clientId"])) return undefined;
  if (subscriptions !== undefined && !isListOfStrings(subscriptions)) return undefined;
  if (![released, ending].every((mark) => mark === undefined || mark === true)) return undefined;
  if (rev !== undefined && !Number.isSafeInteger(rev)) return undefined;
  if (key !== undefined && typeof key !== "string") return undefined;
  const { userAgent, address, clientId } = client as SessionRecord["client"];
  const record = {
    v: 1,
    id,
    owner,
    epoch,
    ...(rev === undefined ? {} : { rev }),
    caller,
    ...(key === undefined ? {} : { key }),
    server,
    transport: found.transport,
    createdAt,
  } as SessionRecord;
  return {
    ...record,
    client: { userAgent, address, ...(clientId === undefined ? {} : { clientId }) },
    ...(initialize === undefined ? {} : { initialize }),
    ...(logLevel === undefined ? {} : { logLevel }),
    ...(subscriptions === undefined ? {} : { subscriptions }),
    ...(released === undefined ? {} : { released: true }),
    ...(ending === undefined ? {} : { ending: true }),
  };
}

export const encodeLease = ({ v, id, startedAt, state, relay, look }: Lease): string =>
  JSON.stringify({ v, id, startedAt, state, relay, look });

/** The lease in `text` if it is whole, of this version and that of instance `id`; undefined otherwise. Never throws. */
export function decodeLease(text: unknown, id: string): Lease | undefined {
  const found = parseObject(text) as Partial<Lease> | undefined;
  if (found?.v !== 1 || found.id !== id || typeof found.startedAt !== "string") return undefined;
  if (found.state !== "serving" && found.state !== "draining") return undefined;
  const relay: unknown = found.relay;
  if (relay !== undefined && typeof relay !== "string") return undefined;
  const lease: Lease = { v: 1, id, startedAt: found.startedAt, state: found.state };
  return {
    ...lease,
    ...(relay === undefined ? {} : { relay }),
    ...(found.look === true ? { look: true } : {}),
  };
}

/** Decodes what a driver was answered, null for an absent key, and tells the log of a record that is there and unreadable. */
export const recordReader =
  (log: Log) =>
  (text: unknown, id: string): SessionRecord | undefined => {
    const record = decodeRecord(text, id);
    if (!record && typeof text === "string")
      log.debug("a stored session record is damaged or of another version");
    return record;
  };
