import { ConfigError } from "../errors.ts";
import { changeKeysFile, KeysFileError, presentCallers } from "./change-file.ts";
import type { KeysOrder } from "./command.ts";
import { CALLER_NAME, isNote, KEY_ID, MAX_SESSIONS, type CallerEntry, type KeyEntry } from "./key-entries.ts";
import { printCreated, printList } from "./key-list.ts";
import { readEnd, readSpan } from "./lifetime.ts";
import { claimsToBeMinted, mintKey } from "./mint.ts";

const OVERLAP = "24h";

/** `keys create`: a further key of a caller, who may be new. */
export async function createKey(order: KeysOrder): Promise<void> {
  const name = callerOf(order);
  const { scope, "max-sessions": limit } = order.flags;
  const maxSessions = limit === undefined ? undefined : sessionsOf(limit);
  const problem = scope === undefined ? undefined : order.scopeProblem(scope);
  if (problem !== undefined) throw new ConfigError([`--scope ${problem}`]);
  const { key, entry } = mintEntry(order);
  const caller = await change(order, { mayCreate: true }, (callers) => {
    let known = callers.find((other) => other.name === name);
    if (known === undefined) {
      known = {
        name,
        ...(scope !== undefined && { scope }),
        ...(maxSessions !== undefined && { maxSessions }),
        keys: [],
      };
      callers.push(known);
    }
    // Its other keys would change with it, unasked.
    if ((scope ?? known.scope) !== known.scope || (maxSessions ?? known.maxSessions) !== known.maxSessions)
      throw new KeysFileError(
        `${name} is there with another scope or limit. Change these in the file itself.`,
      );
    known.keys.push(entry);
    return known;
  });
  printCreated(order, caller, entry, key);
}

/** `keys list`: every key, but never what opens. */
export async function listKeys(order: KeysOrder): Promise<void> {
  printList(order, presentCallers(order.path, order.scopeProblem));
}

/** `keys revoke`: one key by its id, or all of a caller. The caller stays, with its scope and limit. */
export async function revokeKeys(order: KeysOrder): Promise<void> {
  const { operand: id, flags } = order;
  if ((id === undefined) === (flags.caller === undefined))
    throw new ConfigError(["Say which: keys revoke ID, or keys revoke --caller NAME --yes"]);
  // It is not said again: what was typed may be seen by others.
  if (id !== undefined && claimsToBeMinted(id))
    throw new ConfigError([
      "This is a key, not its id, and is now in this shell's history. Find the id with: keys list",
    ]);
  if (id !== undefined && !KEY_ID.test(id))
    throw new ConfigError(["An id is k_ and 12 hex digits. Find it with: keys list"]);
  const name = id === undefined ? callerOf(order) : undefined;
  if (name !== undefined && flags.yes !== true)
    throw new ConfigError([`This revokes all keys of ${name} and closes its sessions. Say --yes to do it.`]);
  const revoked = await change(order, {}, (callers) => {
    const found: { id: string; caller: string }[] = [];
    for (const caller of callers) {
      const isMeant = (key: KeyEntry): boolean => (id === undefined ? caller.name === name : key.id === id);
      found.push(...caller.keys.filter(isMeant).map((key) => ({ id: key.id, caller: caller.name })));
      caller.keys = caller.keys.filter((key) => !isMeant(key));
    }
    if (found.length === 0) throw new KeysFileError(`${id ?? name} has no key here. See: keys list`);
    return found;
  });
  for (const { id: gone, caller } of revoked) {
    order.stdout.write(
      flags.json === true
        ? `${JSON.stringify({ id: gone, caller, revoked: true })}\n`
        : `revoked ${gone} of ${caller}\n`,
    );
  }
}

/** `keys rotate`: a new key of a caller who has one, and an end for the others. */
export async function rotateKey(order: KeysOrder): Promise<void> {
  const name = callerOf(order);
  const overlapMs = readSpan(order.flags.overlap ?? OVERLAP);
  if (overlapMs === undefined) throw new ConfigError(["--overlap must be a span like 24h, 7d or 0s"]);
  const { key, entry } = mintEntry(order);
  const now = order.now();
  const caller = await change(order, {}, (callers) => {
    const known = callers.find((other) => other.name === name);
    const open =
      known?.keys.filter(({ expiresAt }) => expiresAt === undefined || Date.parse(expiresAt) > now) ?? [];
    const newest = open.toSorted((one, other) => one.createdAt.localeCompare(other.createdAt)).at(-1);
    if (known === undefined || newest === undefined)
      throw new KeysFileError(`${name} has no key to replace. Make one with: keys create --caller ${name}`);
    if (newest.expiresAt !== undefined && order.flags.expires === undefined)
      throw new KeysFileError(
        `The key of ${name} has an end. Say when the new one ends: --expires 90d, or never`,
      );
    const last = now + overlapMs;
    // Those that have ended open nothing, and would be more with each rotation.
    known.keys = open.map((old) => ({
      ...old,
      expiresAt: new Date(Math.min(last, Date.parse(old.expiresAt ?? "9999-12-31T00:00:00Z"))).toISOString(),
    }));
    known.keys.push(entry);
    return known;
  });
  printCreated(order, caller, entry, key);
}

const change = <T>(
  order: KeysOrder,
  options: { mayCreate?: boolean },
  apply: (callers: CallerEntry[]) => T,
) => changeKeysFile(order.path, apply, { ...options, scopeProblem: order.scopeProblem });

function mintEntry(order: KeysOrder): { key: string; entry: KeyEntry } {
  const { expires, note } = order.flags;
  const now = order.now();
  const end = expires === undefined || expires === "never" ? undefined : readEnd(expires, now);
  if (end === undefined && expires !== undefined && expires !== "never")
    throw new ConfigError(["--expires must be a span like 90d, a day to come like 2027-01-31, or never"]);
  if (note !== undefined && !isNote(note))
    throw new ConfigError(["--note must be one line of at most 200 letters"]);
  const { key, id, hash } = mintKey();
  const entry: KeyEntry = { id, hash, createdAt: new Date(now).toISOString() };
  if (end !== undefined) entry.expiresAt = new Date(end).toISOString();
  if (note !== undefined) entry.note = note;
  return { key, entry };
}

function callerOf({ flags: { caller } }: KeysOrder): string {
  if (caller === undefined || !CALLER_NAME.test(caller))
    throw new ConfigError([
      "--caller must be 1 to 32 small letters, digits, - or _, and begin with none of these two",
    ]);
  return caller;
}

function sessionsOf(text: string): number {
  const count = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > MAX_SESSIONS)
    throw new ConfigError([`--max-sessions must be a whole number from 1 to ${MAX_SESSIONS}`]);
  return count;
}
