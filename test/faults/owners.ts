import type { Redis } from "ioredis";
import type { Archive } from "../../src/session-store/archive.ts";

interface StoredRecord {
  id: string;
  owner: string;
  epoch: number;
  initialize?: { clientInfo?: { name?: string } };
}

/** The records of all sessions, as they stand in Redis. */
export async function readRecords(db: Redis): Promise<StoredRecord[]> {
  const keys = await db.keys("mcp:session:*");
  const texts = keys.length === 0 ? [] : await db.mget(keys);
  return texts.filter((text) => text !== null).map((text) => JSON.parse(text) as StoredRecord);
}

/** The instance that owns each client's session, by the name in its `initialize`. */
export async function ownersByClient(db: Redis): Promise<Map<string, string>> {
  const records = await readRecords(db);
  return new Map(records.map(({ initialize, owner }) => [initialize?.clientInfo?.name ?? "", owner]));
}

/** The id of each client's session. */
export async function idsByClient(db: Redis): Promise<Map<string, string>> {
  const records = await readRecords(db);
  return new Map(records.map(({ initialize, id }) => [initialize?.clientInfo?.name ?? "", id]));
}

/** The same, of any store. */
export async function idsOf(archive: Archive): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  let cursor: string | undefined;
  do {
    const page = await archive.read({ cursor, count: 500, under: "session:" });
    for (const { value } of page.entries) {
      const { id, initialize } = JSON.parse(value as string) as StoredRecord;
      ids.set(initialize?.clientInfo?.name ?? "", id);
    }
    ({ cursor } = page);
  } while (cursor !== undefined);
  return ids;
}

/** Takes an instance's lease away, in place of 90 seconds of waiting. */
export async function expireLease(db: Redis, instanceId: string): Promise<void> {
  await db.pexpire(`mcp:instance:${instanceId}`, 1);
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
