import type { Log } from "../log.ts";
import type { Archive } from "./archive.ts";
import type { GuardedSessionStore } from "./guard.ts";
import { beginMarks, MARK_KEY, markOf, writeMark } from "./mirror-mark.ts";
import type { Outage } from "./mirror-outage.ts";
import { copyPass, repairKeys, restorePass, type PassParts } from "./mirror-pass.ts";
import type { MirrorQueue } from "./mirror-queue.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";

export interface MirrorSyncParts {
  primary: GuardedSessionStore;
  mirror: GuardedSessionStore;
  primaryArchive: Archive;
  mirrorArchive: Archive;
  queue: MirrorQueue;
  outage: Outage;
  /** Seconds between comparisons; 0 for only after an outage. */
  syncSeconds: number;
  log: Log;
  now: () => number;
  random: () => number;
  /** False while no comparison is made. */
  mayCompare: () => boolean;
  /** The first comparison waits this long, in ms, if above 0, and takes nothing in the mirror for newer. */
  trustFirstMs: number;
}

export interface MirrorSync {
  /** The primary is back: what it lost is written back soon. */
  primaryIsBack(): void;
  /** Begins what is due. */
  beat(): void;
  /** Keys that differed in the last finished comparison, by whichever instance; undefined before the first. */
  divergent(): number | undefined;
  doing(): "idle" | "restoring" | "comparing";
  /** Whether the primary may lack what it had before it was away, and the mirror is about to write it back. */
  isRestoring(): boolean;
  /** Resolves when nothing is under way. Never rejects. */
  close(): Promise<void>;
}

const PAGE = 200;
const LOOK_AGAIN_MS = 100;
const RETRY_MS = 5000;
/** What a comparison put right is looked at again after this, so that the figure tells how things are. */
const FOLLOW_UP_MS = 2000;
const MAX_FOLLOW_UPS = 3;
const SPREAD_MS = 1000;
/** What has not been written back by then is taken for lost: nobody is to wait for it for ever. */
const RESTORED_WITHIN_MS = 60_000;

/** Compares the two stores now and then, and puts right what differs. */
export function createMirrorSync(parts: MirrorSyncParts): MirrorSync {
  const { primary, mirror, primaryArchive, mirrorArchive, queue, outage, syncSeconds, log, now, random } =
    parts;
  const { mayCompare, trustFirstMs } = parts;
  let divergent: number | undefined;
  let doing: "idle" | "restoring" | "comparing" = "idle";
  let dueAt: number | undefined;
  let suspectsDueAt = 0;
  let followUps = 0;
  /** The primary was away, and what it lost has not been written back. */
  let isOwed = false;
  let owedSince = 0;
  /** Number of the last comparison that this instance made or knows of. */
  let known: number | undefined;
  let running: Promise<void> | undefined;
  let isClosed = false;

  const isQuiet = (): boolean =>
    !isClosed && mayCompare() && !outage.isOn && primary.state() === "closed" && mirror.state() === "closed";

  function passParts(checkAlso: () => boolean): PassParts {
    return {
      primary: primaryArchive,
      mirror: mirrorArchive,
      witness: MARK_KEY,
      count: PAGE,
      lookAgainMs: LOOK_AGAIN_MS,
      primaryIsNewest: trustFirstMs > 0 && divergent === undefined,
      isPending: (key) => queue.isPending(key),
      check: () => {
        if (!isQuiet() || !checkAlso()) throw unavailable(new StoreFailure("unreachable", "HALTED"));
      },
    };
  }

  const nextIn = (milliseconds: number): void => void (dueAt = now() + milliseconds);
  const periodMs = (): number => (syncSeconds === 0 ? Infinity : syncSeconds * 1000 * (0.9 + random() * 0.2));

  async function compare(): Promise<void> {
    const [ours, theirs] = [await markOf(primaryArchive), await markOf(mirrorArchive)];
    const isLost = isOwed || (theirs !== undefined && (ours?.n ?? -1) < theirs.n);
    const isMadeByOther = ours !== undefined && ours.n === theirs?.n && ours.n !== known;
    const isFresh = ours !== undefined && (syncSeconds === 0 || ours.ageMs < syncSeconds * 800);
    const isFirst = trustFirstMs > 0 && divergent === undefined;
    if (!isLost && !isFirst && followUps === 0 && isMadeByOther && isFresh) {
      known = ours.n;
      divergent = ours.differed;
      return nextIn(periodMs());
    }
    if (ours === undefined) await beginMarks(primaryArchive);
    const { keys: suspects } = queue.takeSuspects();
    let differed = 0;
    if (isLost) {
      doing = "restoring";
      const ended = [...suspects].filter(([, how]) => how === "removed").map(([key]) => key);
      if (ended.length > 0) await mirrorArchive.remove(ended);
      const report = await restorePass(passParts(() => true));
      log.info({ restored: report.restored }, "wrote back what the session store had lost");
      differed = report.differed;
      isOwed = false;
    }
    doing = "comparing";
    // An outage that ends meanwhile asks for another rule.
    const report = await copyPass(
      passParts(() => !isOwed),
      isLost ? "keep" : "remove",
    );
    differed += report.differed;
    const mark = { n: Math.max(ours?.n ?? 0, theirs?.n ?? 0) + 1, differed };
    // The mirror first: while its number is the higher one, the primary is taken for the one that lost something.
    await writeMark(mirrorArchive, mark);
    if (!(await writeMark(primaryArchive, mark, ours ?? { n: 0, differed: 0 })))
      throw unavailable(new StoreFailure("unreachable", "LOST"));
    known = mark.n;
    divergent = differed;
    if (differed > 0)
      log.debug({ differed }, "the mirror differed from the session store, and was put right");
    followUps = differed > 0 && followUps < MAX_FOLLOW_UPS ? followUps + 1 : 0;
    nextIn(followUps > 0 ? FOLLOW_UP_MS : periodMs());
  }

  async function repair(): Promise<void> {
    doing = "comparing";
    suspectsDueAt = now() + RETRY_MS;
    const { keys, isWhole } = queue.takeSuspects();
    if (!isWhole) nextIn(0);
    await repairKeys(
      passParts(() => !isOwed),
      [...keys.keys()],
    );
  }

  function start(work: () => Promise<void>): void {
    running = work()
      .catch((error: unknown) => {
        log.debug({ err: error }, "the comparison of session store and mirror was broken off");
        nextIn(RETRY_MS);
      })
      .finally(() => {
        doing = "idle";
        running = undefined;
      });
  }

  return {
    primaryIsBack() {
      isOwed = true;
      owedSince = now();
      nextIn(random() * SPREAD_MS);
    },
    beat() {
      if (running !== undefined || !isQuiet()) return;
      dueAt ??= now() + trustFirstMs + random() * SPREAD_MS;
      if (now() >= dueAt) start(compare);
      else if (queue.hasSuspects() && queue.queued() === 0 && now() >= suspectsDueAt && !isOwed)
        start(repair);
    },
    divergent: () => divergent,
    doing: () => doing,
    isRestoring: () => isOwed && mirror.state() === "closed" && now() - owedSince < RESTORED_WITHIN_MS,
    close: async () => {
      isClosed = true;
      await running;
    },
  };
}
