import type { Archive, Entry } from "./archive.ts";

/**
 * How far a live switch has come. `both`: the source decides, the destination is its mirror. `pivot`: whoever claims a
 * record must win on the source and then on the destination. `to`: the destination decides, the source is its mirror.
 */
export type MovePhase = "both" | "pivot" | "to";

/** What says how far a switch has come. One is in each store; that of the source counts while it can be read. */
export interface Control {
  /** The switch's own id: the two stores of one switch have the same. */
  id: string;
  phase: MovePhase;
  /** Which of the two stores this is. */
  side: "from" | "to";
}

/** Key of the control entry. It is no gateway's session: backups and copies leave it out. */
export const CONTROL_KEY = "moving";
/** What the keys of instances' acknowledgements begin with. They are left out as well. */
export const SEEN_KEYS = "moving-seen:";

const CONTROL_MS = 366 * 24 * 3600 * 1000;
const SEEN_MS = 120_000;
const PHASES: readonly unknown[] = ["both", "pivot", "to"];

function parse(entry: Entry | undefined): Control | undefined {
  if (typeof entry?.value !== "string") return undefined;
  try {
    const { v, id, phase, side } = JSON.parse(entry.value) as Record<string, unknown>;
    const isWhole = v === 1 && typeof id === "string" && PHASES.includes(phase);
    if (!isWhole || (side !== "from" && side !== "to")) return undefined;
    return { id, phase: phase as MovePhase, side };
  } catch {
    return undefined;
  }
}

export const readControl = async (archive: Archive): Promise<Control | undefined> =>
  parse((await archive.readKeys([CONTROL_KEY]))[0]);

export async function writeControl(archive: Archive, control: Control): Promise<void> {
  const value = JSON.stringify({ v: 1, ...control });
  await archive.write([{ key: CONTROL_KEY, value, ttlMs: CONTROL_MS }], "always");
}

export const removeControl = (archive: Archive): Promise<void> => archive.remove([CONTROL_KEY]);

/** Notes that an instance acts in this phase, and none of its verbs in an earlier one is under way. */
export async function acknowledge(archive: Archive, instanceId: string, control: Control): Promise<void> {
  const value = JSON.stringify({ v: 1, ...control });
  await archive.write([{ key: SEEN_KEYS + instanceId, value, ttlMs: SEEN_MS }], "always");
}

/** What these instances have acknowledged last, in the order asked. */
export async function acknowledged(
  archive: Archive,
  instanceIds: readonly string[],
): Promise<(Control | undefined)[]> {
  if (instanceIds.length === 0) return [];
  return (await archive.readKeys(instanceIds.map((id) => SEEN_KEYS + id))).map(parse);
}
