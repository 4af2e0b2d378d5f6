import { EXIT, stopIfAsked } from "./command-error.ts";
import type { OpenStore } from "./open-store.ts";
import type { CliParts } from "./parts.ts";
import { sessionRow, sessionRows, type SessionRow } from "./session-rows.ts";
import { counted, plain, short, timeInWords } from "./words.ts";

const COLUMNS = { caller: 16, server: 16, transport: 10, instance: 22, age: 8, expires: 8 };

/** A row without what its client said in \`initialize\`. */
function members({ record, instance, ttlMs }: SessionRow, now: number) {
  const { id, caller, key, server, transport, owner, createdAt, client, ending } = record;
  return {
    id,
    caller,
    key,
    server,
    transport,
    owner,
    instance,
    createdAt,
    ageSeconds: Math.max(0, Math.round((now - Date.parse(createdAt)) / 1000)),
    expiresInSeconds: Math.round(ttlMs / 1000),
    userAgent: client.userAgent,
    ...(ending ? { ending } : {}),
  };
}

function inColumns({ record, instance, ttlMs }: SessionRow, now: number): string {
  const cell = (text: string, width: number): string => short(plain(text), width).padEnd(width);
  const { id, caller, server, transport, owner, createdAt, client, ending } = record;
  return [
    plain(id),
    cell(caller, COLUMNS.caller),
    cell(server, COLUMNS.server),
    cell(transport, COLUMNS.transport),
    cell(`${short(owner, 13)} ${instance}`, COLUMNS.instance),
    cell(timeInWords(now - Date.parse(createdAt)), COLUMNS.age),
    cell(timeInWords(ttlMs), COLUMNS.expires),
    `${short(plain(client.userAgent), 40)}${ending ? " (ending)" : ""}`,
  ].join(" ");
}

const HEADING = [
  "ID".padEnd(36),
  "CALLER".padEnd(COLUMNS.caller),
  "SERVER".padEnd(COLUMNS.server),
  "TRANSPORT".padEnd(COLUMNS.transport),
  "INSTANCE".padEnd(COLUMNS.instance),
  "AGE".padEnd(COLUMNS.age),
  "EXPIRES".padEnd(COLUMNS.expires),
  "CLIENT",
].join(" ");

/** `sessions list`: prints them as they are read, so that however many there are, few are held. */
export async function listSessions(
  store: OpenStore,
  parts: CliParts,
  { caller, limit, json }: { caller: string | undefined; limit: number; json: boolean },
): Promise<number> {
  const { stdout, stderr, signal } = parts;
  let count = 0;
  for await (const rows of sessionRows(store, { caller, limit })) {
    stopIfAsked(signal, "Stopped.");
    const now = parts.now();
    if (count === 0 && rows.length > 0 && !json) stdout.write(`${HEADING}\n`);
    count += rows.length;
    const lines = rows.map((row) => (json ? JSON.stringify(members(row, now)) : inColumns(row, now)));
    const hasRoom = stdout.write(lines.map((line) => `${line}\n`).join(""));
    if (!hasRoom) await drained(parts);
  }
  if (count === limit) stderr.write(`There may be more than ${limit}: use --limit.\n`);
  else if (!json) stderr.write(`${counted(count, "session")}.\n`);
  return EXIT.done;
}

/** Resolves when standard output takes more, or nobody reads it any longer. */
function drained({ stdout }: CliParts): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ["drain", "close", "error"]) stdout.removeListener(event, done);
      resolve();
    };
    for (const event of ["drain", "close", "error"]) stdout.once(event, done);
  });
}

/** `sessions show`: all that is recorded of one session. */
export async function showSession(
  store: OpenStore,
  parts: CliParts,
  { id, json }: { id: string; json: boolean },
): Promise<number> {
  const row = await sessionRow(store, id);
  if (!row) {
    parts.stderr.write("There is no such session: it was closed, it expired, or it never was.\n");
    return EXIT.failed;
  }
  const { instance, ttlMs, record } = row;
  const all = { ...record, instance, expiresInSeconds: Math.round(ttlMs / 1000) };
  parts.stdout.write(`${json ? JSON.stringify(all) : plainLines(JSON.stringify(all, null, 2))}\n`);
  return EXIT.done;
}

const plainLines = (text: string): string => text.split("\n").map(plain).join("\n");
