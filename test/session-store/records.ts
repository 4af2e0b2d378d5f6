import { randomUUID } from "node:crypto";

import type { Lease, SessionRecord } from "../../src/session-store/session-store.ts";

export const aRecord = (over: Partial<SessionRecord> = {}): SessionRecord => ({
  v: 1,
  id: randomUUID(),
  owner: "7f3a9c",
  epoch: 0,
  caller: "default",
  server: "everything",
  transport: "sse",
  createdAt: "2026-11-21T10:00:00.000Z",
  client: { userAgent: "node", address: "203.0.113.7" },
  ...over,
});

export const aLease = (over: Partial<Lease> = {}): Lease => ({
  v: 1,
  id: randomUUID(),
  startedAt: "2026-11-21T10:00:00.000Z",
  state: "serving",
  ...over,
});

/** Everything an error shows to whoever looks closely. */
export function tellAll(error: unknown): string {
  if (!(error instanceof Error)) return JSON.stringify(error) ?? "";
  const own = Object.fromEntries(
    Object.getOwnPropertyNames(error).map((name) => [name, Reflect.get(error, name)]),
  );
  return `${JSON.stringify(own)}${String(error.stack)}${tellAll(error.cause)}`;
}
