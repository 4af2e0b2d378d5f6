import { Cluster, type Redis } from "ioredis";

import { StoreFailure } from "./store-failure.ts";

/** Keys that one SCAN found, and where the next one begins; undefined after the last. */
export interface ScanPage {
  keys: string[];
  cursor: string | undefined;
}

/** Where a walk over a cluster is: the nodes behind it, and the place in the one that it is at. */
interface Place {
  done: string[];
  node?: string | undefined;
  at: string;
}

const START: Place = { done: [], at: "0" };

/** The masters that hold slots. Rejects while one of them is away, for its keys would be missed. */
function mastersOf(client: Cluster): Redis[] {
  const masters = client.nodes("master");
  const names = new Set(masters.map(nameOf));
  const owners = new Set(client.slots.map(([owner]) => owner));
  for (const owner of owners)
    if (owner !== undefined && !names.has(owner)) throw new StoreFailure("unreachable", "NODE_AWAY");
  return masters;
}

const nameOf = ({ options: { host, port } }: Redis): string => `${host}:${port}`;

function readPlace(cursor: string | undefined): Place {
  if (cursor === undefined) return START;
  try {
    const { done, node, at } = JSON.parse(cursor) as Place;
    if (Array.isArray(done) && typeof node === "string" && typeof at === "string") return { done, node, at };
  } catch {
    // A cursor of another store leads nowhere here; from the start, nothing is missed.
  }
  return START;
}

/** One SCAN of a single Redis. */
async function scanOne(client: Redis, cursor: string | undefined, pattern: string, count: number) {
  const [next, keys] = await client.scan(cursor ?? "0", "MATCH", pattern, "COUNT", count);
  return { keys, cursor: next === "0" ? undefined : next };
}

/**
 * One SCAN of one master of a cluster; the masters take turns, each to its end. When the master that the cursor names is
 * gone, the one that took its place is walked from its start. A slot that is moved meanwhile by an operator may be missed.
 */
async function scanCluster(
  client: Cluster,
  cursor: string | undefined,
  pattern: string,
  count: number,
): Promise<ScanPage> {
  const place = readPlace(cursor);
  const left = mastersOf(client).filter((node) => !place.done.includes(nameOf(node)));
  const present = left.find((node) => nameOf(node) === place.node);
  const node = present ?? left[0];
  if (!node) return { keys: [], cursor: undefined };
  const page = await scanOne(node, present && place.at, pattern, count);
  if (page.cursor !== undefined) {
    const next: Place = { done: place.done, node: nameOf(node), at: page.cursor };
    return { keys: page.keys, cursor: JSON.stringify(next) };
  }
  const following = left.find((other) => other !== node);
  const next: Place = { done: [...place.done, nameOf(node)], node: following && nameOf(following), at: "0" };
  return { keys: page.keys, cursor: following && JSON.stringify(next) };
}

/** About `count` keys that match, from `cursor` on. One command. */
export const scan = (
  client: Redis | Cluster,
  cursor: string | undefined,
  pattern: string,
  count: number,
): Promise<ScanPage> =>
  client instanceof Cluster
    ? scanCluster(client, cursor, pattern, count)
    : scanOne(client, cursor, pattern, count);
