import fc from "fast-check";
import type { CallerEntry, KeyEntry } from "../../src/keys/key-entries.ts";
import { mintKey } from "../../src/keys/mint.ts";

export const CREATED = "2026-11-21T12:00:00.000Z";

/** A key as a keys file has it, of a key that nobody has seen. */
export function entry(more: Partial<KeyEntry> = {}): KeyEntry {
  const { id, hash } = mintKey();
  return { id, hash, createdAt: CREATED, ...more };
}

const hex = (length: number) =>
  fc.string({ unit: fc.constantFrom(..."0123456789abcdef".split("")), minLength: length, maxLength: length });
const line = fc
  .string({ unit: "grapheme", maxLength: 40 })
  .filter((text) => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text));
const time = fc
  .date({ min: new Date("1970-01-01T00:00:00Z"), max: new Date("9999-12-31T00:00:00Z"), noInvalidDate: true })
  .map((date) => date.toISOString());
const key = fc.record(
  { id: hex(12), hash: hex(64), createdAt: time, expiresAt: time, note: line },
  { requiredKeys: ["id", "hash", "createdAt"] },
);

/** Callers as any keys file may have them. */
export const anyCallers: fc.Arbitrary<CallerEntry[]> = fc
  .uniqueArray(
    fc.record(
      {
        name: fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,31}$/),
        scope: line,
        maxSessions: fc.integer({ min: 1, max: 1_000_000 }),
        disabled: fc.constant<true>(true),
        keys: fc.array(key, { maxLength: 4 }),
      },
      { requiredKeys: ["name", "keys"] },
    ),
    { minLength: 1, maxLength: 6, selector: ({ name }) => name },
  )
  .filter((callers) => {
    const keys = callers.flatMap((caller) => caller.keys);
    return new Set(keys.flatMap(({ id, hash }) => [id, hash])).size === 2 * keys.length;
  })
  .map((callers) =>
    callers.map((caller) => ({
      ...caller,
      keys: caller.keys.map(({ id, hash, ...rest }) => ({ id: `k_${id}`, hash: `sha256:${hash}`, ...rest })),
    })),
  );
