import type { Log } from "../log.ts";
import type { Archive } from "./archive.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";
import { acknowledge, readControl, type Control, type MovePhase } from "./switch-control.ts";

export type Phase = "none" | MovePhase;

export interface PhaseParts {
  from: Archive;
  to: Archive;
  instanceId: string;
  /** For how long what was read may be acted upon. Who moves the stores waits longer than that. */
  leaseMs: number;
  log: Log;
  now: () => number;
  /** Makes ready for a phase: resolves when nothing of an earlier one is under way. Rejects when it cannot be now. */
  prepare: (phase: Phase) => Promise<void>;
}

export interface PhaseOfMove {
  /** As last read; undefined before the first time. */
  known(): Phase | undefined;
  /** Whether it was read so long ago that it may be another one by now. */
  isStale(): boolean;
  /** The phase, read again when it is stale. Rejects with `store_unavailable` when it cannot be known. */
  fresh(): Promise<Phase>;
  /** Looks when it is time to. */
  beat(): void;
}

const LOOK_MS = 5000;
/** While no move is on, a look is a command that is paid for. It must be well within the lease. */
const IDLE_LOOK_MS = 15_000;
/** An instance that runs with the settings of a finished move says so this often. */
const REFRESH_MS = 60_000;
const FAILED_MS = 500;

/** Knows how far a live switch between the two stores has come, and tells that this instance knows. */
export function createPhase({ from, to, instanceId, leaseMs, log, now, prepare }: PhaseParts): PhaseOfMove {
  let phase: Phase | undefined;
  let control: Control | undefined;
  let readAt = -Infinity;
  let readAtWall = -Infinity;
  let lookAt = -Infinity;
  let failedAt = -Infinity;
  /** The destination has been asked as well: a source that lost everything would not know of a finished move. */
  let isAsked = false;
  let looking: Promise<void> | undefined;
  let telling: Promise<void> | undefined;

  /** The copy in the destination counts when the source has lost its own, or is gone for good after a move. */
  async function read(): Promise<Control | undefined> {
    const theirs = async (): Promise<Control | undefined> => {
      const found = await readControl(to);
      return found?.side === "to" ? found : undefined;
    };
    let ours: Control | undefined;
    try {
      ours = await readControl(from);
    } catch (error) {
      const found = await theirs().catch(() => undefined);
      if (found?.phase === "to") return found;
      throw error;
    }
    if (ours?.side === "from") return ours;
    const isMoving = phase !== undefined && phase !== "none";
    if (isAsked && !isMoving) return undefined;
    try {
      const found = await theirs();
      isAsked = true;
      return found;
    } catch (error) {
      // A mirror that is away keeps no gateway from starting.
      if (isMoving) throw error;
      return undefined;
    }
  }

  async function look(): Promise<void> {
    const [startedAt, startedAtWall] = [now(), Date.now()];
    const found = await read();
    readAt = startedAt;
    readAtWall = startedAtWall;
    control = found;
    const next = found?.phase ?? "none";
    if (next === phase) return;
    if (phase !== undefined || next !== "none")
      log.info({ phase: next }, "the move to another session store is in this phase");
    phase = next;
  }

  /** The time that a machine sleeps is on the clock at the wall only. A wrong one costs a look more. */
  const isOld = (): boolean => now() - readAt >= leaseMs || Date.now() - readAtWall >= leaseMs;

  const lookOnce = (): Promise<void> =>
    (looking ??= look()
      .catch((error: unknown) => {
        failedAt = now();
        throw error;
      })
      .finally(() => {
        looking = undefined;
      }));

  async function tell(): Promise<void> {
    if (control === undefined) return;
    const told = control;
    // Somebody else's move to somewhere else would have another id there.
    if (told.phase === "both" && (await readControl(to))?.id !== told.id) return;
    await prepare(told.phase);
    if (control?.phase === told.phase) await acknowledge(told.phase === "to" ? to : from, instanceId, told);
  }

  function tellOnce(): void {
    telling ??= tell()
      .catch(() => undefined)
      .finally(() => {
        telling = undefined;
      });
  }

  return {
    known: () => phase,
    isStale: () => phase !== "to" && isOld(),
    async fresh() {
      // What has been moved is not moved back: a gateway's settings say so.
      if (phase === "to") return phase;
      if (phase !== undefined && !isOld()) return phase;
      // Verbs must not wait one after the other for a store that is away.
      if (now() - failedAt < FAILED_MS) throw unavailable(new StoreFailure("unreachable", "PHASE_UNKNOWN"));
      await lookOnce();
      return phase ?? "none";
    },
    beat() {
      if (now() < lookAt) return;
      if (phase === "to") {
        lookAt = now() + REFRESH_MS;
        return tellOnce();
      }
      lookAt = now() + (phase === "none" ? Math.min(IDLE_LOOK_MS, leaseMs / 2) : LOOK_MS);
      lookOnce().then(
        () => {
          if (phase === "to") lookAt = now() + LOOK_MS;
          tellOnce();
        },
        () => undefined,
      );
    },
  };
}
