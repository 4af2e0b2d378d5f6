import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

import { ConfigError } from "../errors.ts";
import type { Archive } from "./archive.ts";
import { anEmptyReport, copyPass, type PassReport } from "./mirror-pass.ts";
import {
  acknowledged,
  CONTROL_KEY,
  readControl,
  removeControl,
  SEEN_KEYS,
  writeControl,
  type Control,
  type MovePhase,
} from "./switch-control.ts";

export type SwitchStep = "both" | "backfill" | "verify" | "pivot" | "verify-pivot" | "to" | "verify-to";

export interface SwitchProgress {
  step: SwitchStep;
  /** Keys that this step has looked at. */
  keys: number;
  /** Instances that have not acknowledged the phase yet. */
  waitingFor: readonly string[];
}

export interface SwitchOptions {
  /** The store that the gateways' settings name. */
  from: Archive;
  /** The store that they have as `SESSION_MIRROR`. */
  to: Archive;
  /** Entries a page. */
  batch: number;
  /** Breaks it off at once; called again, it goes on where it was. */
  signal?: AbortSignal;
  onProgress?: (progress: SwitchProgress) => void;
  /** A clock that never goes back, in milliseconds. */
  now?: () => number;
  /** Milliseconds that every instance has to acknowledge a phase. */
  waitMs?: number;
  /** Milliseconds that the middle phase lasts at least: more than `phaseLeaseMs` of the gateways. */
  holdMs?: number;
  /** Milliseconds between two looks at what instances have acknowledged. */
  pollMs?: number;
}

export interface SwitchReport {
  /** Instances that had leases when the destination began to decide. */
  instances: string[];
  /** Keys of the source that were looked at in the last comparison before that. */
  keys: number;
  /** Keys written to the destination by the comparisons. */
  copied: number;
  /** Keys removed from it, which the source did not have. */
  removed: number;
  /** Comparisons that were made, and commands sent to both stores. */
  passes: number;
  commands: number;
  commandsPerKey: number;
  seconds: number;
}

const WAIT_MS = 60_000;
const HOLD_MS = 35_000;
const POLL_MS = 1000;
const MAX_PASSES = 30;
const LOOK_AGAIN_MS = 200;

async function instancesOf(archive: Archive): Promise<string[]> {
  const found = new Set<string>();
  let cursor: string | undefined;
  do {
    const page = await archive.read({ cursor, count: 500, under: "instance:" });
    for (const { key } of page.entries) found.add(key.slice("instance:".length));
    ({ cursor } = page);
  } while (cursor !== undefined);
  return [...found];
}

/** Tells both stores. The copy that decides comes last, so that a phase that decides is known everywhere. */
async function setPhase(from: Archive, to: Archive, id: string, phase: MovePhase): Promise<void> {
  const write = (archive: Archive, side: "from" | "to") => writeControl(archive, { id, phase, side });
  if (phase !== "to") await write(to, "to");
  await write(from, "from");
  if (phase === "to") await write(to, "to");
}

/** Gateways that still run with the settings of an earlier move would take this one for theirs. */
async function refuseUnsettled(from: Archive, control: Control | undefined): Promise<void> {
  if (control?.side !== "to") return;
  const instances = await instancesOf(from);
  const seen = await acknowledged(from, instances);
  const unsettled = instances.filter((_, at) => seen[at]?.phase === "to");
  if (unsettled.length === 0) return;
  throw new ConfigError(
    unsettled.map(
      (id) =>
        `instance ${id} still runs with the settings of the last move: set SESSION_STORE to where its sessions are`,
    ),
  );
}

/**
 * Moves live sessions from one store to the other while gateways serve, which have the second as their mirror. How far
 * it has come is in the stores: after an interruption it goes on when it is called again. Rejects with a ConfigError
 * that names the instances that do not know the destination, with nothing switched, and with `store_unavailable`.
 */
export async function switchOver(options: SwitchOptions): Promise<SwitchReport> {
  const { from, to, batch, signal, onProgress, now = () => performance.now() } = options;
  const { waitMs = WAIT_MS, holdMs = HOLD_MS, pollMs = POLL_MS } = options;
  const startedAt = now();
  const commandsBefore = from.commands + to.commands;
  const total = anEmptyReport();
  let passes = 0;
  let instances: string[] = [];

  const tell = (step: SwitchStep, keys: number, waitingFor: readonly string[] = []): void =>
    onProgress?.({ step, keys, waitingFor });

  async function missing(id: string, phase: MovePhase): Promise<string[]> {
    // Who has switched renews its lease in the destination.
    const stores = phase === "to" ? [to] : [from];
    instances = [...new Set((await Promise.all(stores.map(instancesOf))).flat())];
    const seen = await acknowledged(phase === "to" ? to : from, instances);
    return instances.filter((_, at) => seen[at]?.id !== id || seen[at].phase !== phase);
  }

  /** The instances that had not acknowledged when time was up. */
  async function awaitAll(id: string, phase: MovePhase): Promise<string[]> {
    const giveUpAt = now() + waitMs;
    for (;;) {
      signal?.throwIfAborted();
      const left = await missing(id, phase);
      tell(phase, total.keys, left);
      if (left.length === 0 || now() >= giveUpAt) return left;
      await pause(pollMs, undefined, signal ? { signal } : {});
    }
  }

  async function compare(step: SwitchStep, primary: Archive, mirror: Archive): Promise<PassReport> {
    let keys = 0;
    const isBack = primary === to;
    passes += 1;
    return copyPass(
      {
        primary,
        mirror,
        count: batch,
        witness: CONTROL_KEY,
        lookAgainMs: LOOK_AGAIN_MS,
        isPending: () => false,
        primaryIsNewest: isBack,
        check: () => signal?.throwIfAborted(),
        onPage: (count) => tell(step, (keys += count)),
      },
      isBack ? "keep" : "remove",
    );
  }

  /** Compares until nothing differs but what is being written. */
  async function pass(step: SwitchStep): Promise<number> {
    const report = await compare(step, from, to);
    total.keys = report.keys;
    total.written += report.written;
    total.removed += report.removed;
    return report.differed;
  }

  /** Compares until nothing differs but what is being written. */
  async function converge(step: SwitchStep): Promise<void> {
    for (let tried = 0; tried < MAX_PASSES; tried += 1) {
      if ((await pass(step)) === 0) return;
      await pause(pollMs, undefined, signal ? { signal } : {});
    }
    throw new ConfigError(["the two stores keep differing: is anything else writing to the destination?"]);
  }

  async function holdPivot(id: string): Promise<void> {
    const heldUntil = now() + holdMs;
    const left = await awaitAll(id, "pivot");
    if (left.length > 0) throw new ConfigError(left.map(unheard));
    while (now() < heldUntil)
      await pause(Math.min(pollMs, heldUntil - now()), undefined, signal ? { signal } : {});
  }

  const unheard = (instance: string): string =>
    `instance ${instance} does not answer: it serves without this SESSION_MIRROR, or hangs`;

  const [ours, theirs] = [await readControl(from), await readControl(to)];
  await refuseUnsettled(from, ours);
  const going = ours?.side === "from" ? ours : undefined;
  const isNew = going === undefined;
  const id = going?.id ?? randomUUID();
  if (!isNew && theirs?.id !== id && going.phase !== "to")
    throw new ConfigError([
      "another move from this store is under way, to another destination: abandon it first",
    ]);

  if (isNew || going.phase === "both") {
    await setPhase(from, to, id, "both");
    const left = await awaitAll(id, "both");
    if (left.length > 0) {
      if (isNew) await abandon({ from, to });
      throw new ConfigError(left.map(unheard));
    }
    await pass("backfill");
    await converge("verify");
  }
  if (going?.phase !== "to") {
    await setPhase(from, to, id, "pivot");
    await holdPivot(id);
    await converge("verify-pivot");
  }
  await setPhase(from, to, id, "to");
  const left = await awaitAll(id, "to");
  if (left.length > 0) throw new ConfigError(left.map(unheard));
  const last = await compare("verify-to", to, from);
  const commands = from.commands + to.commands - commandsBefore;
  return {
    instances,
    keys: total.keys || last.keys,
    copied: total.written,
    removed: total.removed,
    passes,
    commands,
    commandsPerKey: commands / Math.max(1, total.keys || last.keys),
    seconds: (now() - startedAt) / 1000,
  };
}

/** Gives up a move that has not come to its last phase; the source goes on deciding. Rejects with a ConfigError after that. */
export async function abandon({ from, to }: Pick<SwitchOptions, "from" | "to">): Promise<void> {
  const ours = await readControl(from);
  if (ours?.side === "from" && ours.phase === "to")
    throw new ConfigError(["the destination decides already: finish the move, then move back"]);
  await removeControl(from);
  const theirs = await readControl(to);
  if (theirs?.side === "to" && theirs.phase !== "to") await removeControl(to);
  const instances = await instancesOf(from);
  await from.remove(instances.map((id) => SEEN_KEYS + id));
}
