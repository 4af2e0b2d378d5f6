import type { Archive, Entry } from "../session-store/archive.ts";
import { stopIfAsked } from "./command-error.ts";
import { holdSame, kindOf, KINDS, type Kind } from "./kinds.ts";
import { walk } from "./pages.ts";

/** What a comparison found of one kind. */
export interface KindDifferences {
  /** Entries of the first store that were looked for in the second. */
  compared: number;
  /** In the first store only. */
  missing: number;
  /** In both, and not the same. */
  different: number;
  /** In the second store only. */
  extra: number;
}

export interface Comparison {
  kinds: Record<Kind, KindDifferences>;
  /** Whether both hold the same. */
  same: boolean;
  /** Keys that differ, the first few. */
  examples: string[];
}

export interface CompareOptions {
  batch: number;
  signal: AbortSignal;
  onProgress: (done: number, bytes: number) => void;
}

const MAX_EXAMPLES = 10;

const nothing = (): KindDifferences => ({ compared: 0, missing: 0, different: 0, extra: 0 });

/**
 * Compares two stores page by page, in both directions. What seems to differ is read once more from both, since gateways
 * may have changed it between the two looks. Expiries are not compared.
 */
export async function compareStores(
  from: Archive,
  to: Archive,
  options: CompareOptions,
): Promise<Comparison> {
  const { batch, signal, onProgress } = options;
  const kinds = Object.fromEntries(KINDS.map((kind) => [kind, nothing()])) as Comparison["kinds"];
  const examples = new Set<string>();
  let done = 0;
  let bytes = 0;

  const note = (key: string, what: "missing" | "different" | "extra"): void => {
    const kind = kindOf(key);
    if (kind === undefined) return;
    kinds[kind][what]++;
    if (examples.size < MAX_EXAMPLES) examples.add(key);
  };

  async function lookAgain(keys: readonly string[]): Promise<void> {
    if (keys.length === 0) return;
    const [ones, others] = await Promise.all([from.readKeys(keys), to.readKeys(keys)]);
    keys.forEach((key, at) => {
      const one = ones[at];
      const other = others[at];
      if (one && !other) note(key, "missing");
      else if (other && !one) note(key, "extra");
      else if (one && other && !holdSame(one, other)) note(key, "different");
    });
  }

  async function oneWay(near: Archive, far: Archive, isSame: (one: Entry, other: Entry) => boolean) {
    for await (const page of walk(near, { kinds: KINDS, batch })) {
      stopIfAsked(signal, "Stopped: the comparison was not finished.");
      const keys = page.entries.map(({ key }) => key);
      const found = keys.length === 0 ? [] : await far.readKeys(keys);
      const doubtful = page.entries.filter((entry, at) => {
        const other = found[at];
        return other === undefined || !isSame(entry, other);
      });
      await lookAgain(doubtful.map(({ key }) => key));
      if (near === from) for (const key of keys) kinds[kindOf(key) as Kind].compared++;
      done += keys.length;
      bytes += page.bytes;
      onProgress(done, bytes);
    }
  }

  await oneWay(from, to, holdSame);
  // What both have was compared on the way there.
  await oneWay(to, from, () => true);
  const same = Object.values(kinds).every(
    ({ missing, different, extra }) => missing + different + extra === 0,
  );
  return { kinds, same, examples: [...examples] };
}

/** A comparison in lines for people. */
export function comparisonWords({ kinds, same, examples }: Comparison): string[] {
  const rows = Object.entries(kinds).map(
    ([kind, { compared, missing, different, extra }]) =>
      `  ${kind.replace(":", "").padEnd(8)} ${compared} compared, ${missing} missing, ${different} different, ${extra} extra`,
  );
  if (same) return ["Both stores hold the same.", ...rows];
  return ["The stores differ.", ...rows, "Some of what differs:", ...examples.map((key) => `  ${key}`)];
}
