import type { KeysOrder } from "./command.ts";
import type { CallerEntry, KeyEntry } from "./key-entries.ts";

/** Prints a key that was just made: the one time that it is seen. */
export function printCreated(order: KeysOrder, caller: CallerEntry, entry: KeyEntry, key: string): void {
  const { id, createdAt, expiresAt } = entry;
  if (order.flags.json === true) {
    const told = { key, id, caller: caller.name, createdAt, expiresAt: expiresAt ?? null };
    order.stdout.write(`${JSON.stringify(told)}\n`);
  } else order.stdout.write(`${key}\n`);
  const others = caller.keys.filter((other) => other !== entry && other.expiresAt !== undefined);
  const lines = [
    `Key ${id} of ${caller.name} was made. It is shown this once: keep it now.`,
    expiresAt === undefined ? "It does not end by itself." : `It ends at ${expiresAt}.`,
    ...others.map((other) => `Key ${other.id} ends at ${other.expiresAt}.`),
    ...(caller.disabled === true ? [`${caller.name} is disabled in the file: its keys open nothing.`] : []),
    "Send it as X-API-Key or Authorization: Bearer.",
  ];
  order.stderr.write(lines.map((line) => `${line}\n`).join(""));
}

/** Prints all keys without what opens, and callers that have none. */
export function printList({ flags, stdout, now }: KeysOrder, callers: readonly CallerEntry[]): void {
  const rows = callers.flatMap((caller) =>
    caller.keys.length === 0
      ? [rowOf(caller, undefined, now())]
      : caller.keys.map((key) => rowOf(caller, key, now())),
  );
  if (flags.json === true) {
    for (const row of rows) stdout.write(`${JSON.stringify(row)}\n`);
    return;
  }
  const table = [
    ["ID", "CALLER", "STATE", "CREATED", "EXPIRES", "SCOPE", "NOTE"],
    ...rows.map((row) => [
      row.id ?? "-",
      row.caller,
      row.state,
      row.createdAt ?? "-",
      row.expiresAt ?? (row.id === null ? "-" : "never"),
      row.scope ?? "-",
      row.note ?? "",
    ]),
  ];
  const widths = (table[0] as string[]).map((_, column) =>
    Math.max(...table.map((line) => (line[column] as string).length)),
  );
  for (const line of table) {
    stdout.write(
      `${line
        .map((cell, column) => cell.padEnd(widths[column] as number))
        .join("  ")
        .trimEnd()}\n`,
    );
  }
}

function rowOf({ name, scope, maxSessions, disabled }: CallerEntry, key: KeyEntry | undefined, now: number) {
  const hasEnded = key?.expiresAt !== undefined && Date.parse(key.expiresAt) <= now;
  const state = disabled === true ? "disabled" : hasEnded ? "expired" : "active";
  return {
    id: key?.id ?? null,
    caller: name,
    state: key === undefined ? "no key" : state,
    createdAt: key?.createdAt ?? null,
    expiresAt: key?.expiresAt ?? null,
    scope: scope ?? null,
    maxSessions: maxSessions ?? null,
    note: key?.note ?? null,
  };
}
