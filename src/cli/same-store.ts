import { randomUUID } from "node:crypto";

import type { Archive } from "../session-store/archive.ts";
import { usage } from "./command-error.ts";

const PROBE_TTL_MS = 10_000;

/** Throws `usage` when what is written to one store appears in the other: one store may have two names. Four commands. */
export async function refuseSameStore(from: Archive, to: Archive): Promise<void> {
  const key = `client:probe-${randomUUID()}`;
  const value = new Map([["probe", Buffer.from("1")]]);
  await to.write([{ key, value, ttlMs: PROBE_TTL_MS }], "always");
  const [seen] = await from.readKeys([key]);
  await to.remove([key]);
  if (seen !== undefined)
    throw usage("--from and --to are the same store under two names; nothing was removed.");
}
