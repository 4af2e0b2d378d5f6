import type { Log } from "../log.ts";
import type { Archive } from "./archive.ts";
import type { GuardedSessionStore } from "./guard.ts";
import { createOutage, type Outage } from "./mirror-outage.ts";
import { createMirrorQueue, type MirrorQueue } from "./mirror-queue.ts";
import { createMirrorSync, type MirrorSync } from "./mirror-sync.ts";
import { mirroredVerbs, type Verbs } from "./mirror-verbs.ts";

/** One of the two stores, both ways. */
export interface Side {
  store: GuardedSessionStore;
  archive: Archive;
}

export interface MirrorLineParts {
  queueLimit: number;
  syncSeconds: number;
  log: Log;
  now: () => number;
  random: () => number;
  /** False while writes wait. */
  mayReplay: () => boolean;
  /** False while no comparison is made. */
  mayCompare: () => boolean;
  /** The mirror decided until now, and may have what was never decided: it is not read, nor taken for newer, before it was put right after this. */
  trustFirstMs?: number;
  onPrimaryBack: () => void;
}

/** The way from the store that decides to its mirror. */
export interface MirrorLine {
  primary: Side;
  mirror: Side;
  verbs: Verbs;
  queue: MirrorQueue;
  sync: MirrorSync;
  outage: Outage;
  /** Called about once a second while this is the way in use. */
  beat(): void;
}

/** Builds the way from one store to the other. It touches nothing. */
export function createMirrorLine(primary: Side, mirror: Side, parts: MirrorLineParts): MirrorLine {
  const { queueLimit, syncSeconds, log, now, random, mayReplay, mayCompare, onPrimaryBack } = parts;
  const queue = createMirrorQueue({ mirror: mirror.store, limit: queueLimit, now, mayReplay });
  const outage = createOutage(primary.store, () => {
    sync.primaryIsBack();
    onPrimaryBack();
  });
  const sync = createMirrorSync({
    primary: primary.store,
    mirror: mirror.store,
    primaryArchive: primary.archive,
    mirrorArchive: mirror.archive,
    queue,
    outage,
    syncSeconds,
    log,
    now,
    random,
    mayCompare,
    trustFirstMs: parts.trustFirstMs ?? 0,
  });

  /** Nobody may be asking a store that was away; it is to be noticed when it is back. */
  function probe(): void {
    if (outage.isOn && primary.store.state() !== "open") {
      primary.store.ready().then(
        () => outage.succeeded(),
        () => undefined,
      );
    }
    // Whether there is anything to stand in for the primary is to be known, too.
    if (outage.isOn || (mirror.store.state() === "half-open" && queue.queued() === 0))
      mirror.store.ready().catch(() => undefined);
  }

  return {
    primary,
    mirror,
    verbs: mirroredVerbs({
      primary: primary.store,
      mirror: mirror.store,
      queue,
      outage,
      isRestoring: () => sync.isRestoring(),
      mayRead: () => parts.trustFirstMs === undefined || sync.divergent() !== undefined,
    }),
    queue,
    sync,
    outage,
    beat() {
      void queue.drain();
      probe();
      sync.beat();
    },
  };
}
