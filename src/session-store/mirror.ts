import type { Log } from "../log.ts";
import type { Archive } from "./archive.ts";
import type { BreakerState } from "./breaker.ts";
import type { GuardedSessionStore } from "./guard.ts";
import { createMirrorLine } from "./mirror-line.ts";
import type { Verbs } from "./mirror-verbs.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";
import { createPhase, type Phase } from "./switch-phase.ts";
import { pivotVerbs } from "./switch-pivot.ts";

export interface MirrorOptions {
  /** The store of the settings. */
  primary: GuardedSessionStore;
  /** The second store, to which every write goes as well. */
  mirror: GuardedSessionStore;
  primaryArchive: Archive;
  mirrorArchive: Archive;
  /** Keys that may wait to be written to the mirror; beyond it the oldest are given up, and put right later. */
  queueLimit: number;
  /** Seconds between comparisons of the two; 0 for only after the primary was away. */
  syncSeconds: number;
  instanceId: string;
  log: Log;
  /** A clock that never goes back, in milliseconds. */
  now?: () => number;
  /** Draws from 0 to 1. */
  random?: () => number;
  /** For how long this instance may act on what it knows of a live switch, in ms: below the `holdMs` of `switchOver`. */
  phaseLeaseMs?: number;
}

/** How the mirror does. */
export interface MirrorState {
  /** Keys that wait to be written. */
  queued: number;
  /** Keys that were given up since the start. */
  dropped: number;
  /** How long the oldest has been waiting. */
  lagSeconds: number;
  /** Keys that differed in the last finished comparison; undefined before the first. */
  divergent: number | undefined;
  /** The primary is away, and reads are answered by the mirror. */
  isReading: boolean;
  /** The mirror's breaker. */
  state: BreakerState;
  /** What the comparison does just now. */
  sync: "idle" | "restoring" | "comparing";
  /** How far a live switch has come: from `to` on the two stores have changed places. Undefined before it was asked for. */
  phase: Phase | undefined;
}

export interface MirroredSessionStore extends GuardedSessionStore {
  mirrorState(): MirrorState;
  /** Does what is due: to be called about once a second. Never throws. */
  beat(): void;
  /** Calls back whenever the primary serves again after it was away: it may have lost what it had. */
  onPrimaryBack(callback: () => void): void;
}

const PHASE_LEASE_MS = 30_000;
const FLUSH_MS = 2000;

/**
 * A session store with a second one beside it. The primary decides and answers; each write that it took goes to the
 * mirror as well, in order, later and without anybody waiting. Reads are answered by the mirror while the primary is
 * down, never because the primary has nothing. `switchOver` makes the two change places without a restart.
 */
export function mirrorSessionStore(options: MirrorOptions): MirroredSessionStore {
  const { primary, mirror, primaryArchive, mirrorArchive, queueLimit, syncSeconds, instanceId, log } =
    options;
  const { now = () => performance.now(), random = Math.random, phaseLeaseMs = PHASE_LEASE_MS } = options;
  const callbacks = new Set<() => void>();
  const source = { store: primary, archive: primaryArchive };
  const destination = { store: mirror, archive: mirrorArchive };
  const line = {
    queueLimit,
    syncSeconds,
    log,
    now,
    random,
    onPrimaryBack: () => callbacks.forEach((callback) => callback()),
  };
  const isBefore = (): boolean => phase.known() === "none" || phase.known() === "both";
  const forward = createMirrorLine(source, destination, {
    ...line,
    mayReplay: () => phase.known() !== "to" && phase.known() !== undefined && !phase.isStale(),
    mayCompare: isBefore,
  });
  const backward = createMirrorLine(destination, source, {
    ...line,
    mayReplay: () => phase.known() === "to",
    mayCompare: () => phase.known() === "to",
    // What was begun on the source and not decided on the destination looks newer there, and is not.
    trustFirstMs: phaseLeaseMs * 2,
  });
  const pivot = pivotVerbs({ source: primary, destination: mirror, queue: forward.queue, instanceId });
  const verbsOf: Record<Phase, Verbs> = {
    none: forward.verbs,
    both: forward.verbs,
    pivot,
    to: backward.verbs,
  };
  const underWay: Record<Phase, number> = { none: 0, both: 0, pivot: 0, to: 0 };
  let closing: Promise<void> | undefined;

  const phase = createPhase({
    from: primaryArchive,
    to: mirrorArchive,
    instanceId,
    leaseMs: phaseLeaseMs,
    log,
    now,
    async prepare(next) {
      const earlier: Phase[] =
        next === "pivot" ? ["none", "both"] : next === "to" ? ["none", "both", "pivot"] : [];
      while (earlier.some((each) => underWay[each] > 0))
        await new Promise((resolve) => setTimeout(resolve, 5));
      if (next === "pivot") await forward.queue.flush(FLUSH_MS);
      if (next === "to") forward.queue.close();
    },
  });

  const current = () => (phase.known() === "to" ? backward : forward);

  async function within<T>(phaseNow: Phase, verb: (verbs: Verbs) => Promise<T>): Promise<T> {
    underWay[phaseNow] += 1;
    try {
      return await verb(verbsOf[phaseNow]);
    } finally {
      underWay[phaseNow] -= 1;
    }
  }

  /** For verbs that claim nothing: while the phase cannot be known, the source is asked, which is away then. */
  const carryOut = async <T>(verb: (verbs: Verbs) => Promise<T>): Promise<T> =>
    within(await phase.fresh().catch(() => phase.known() ?? "none"), verb);

  /** For verbs that only one of many may win. */
  async function decide(verb: (verbs: Verbs) => Promise<boolean>): Promise<boolean> {
    const phaseThen = await phase.fresh();
    const isWon = await within(phaseThen, verb);
    // Who slept meanwhile may have asked the source when the destination decided already.
    const isSure = phaseThen === "to" || phaseThen === "pivot" || !phase.isStale();
    if (isWon && !isSure && (await phase.fresh()) === "to")
      throw unavailable(new StoreFailure("refused", "MOVED"));
    return isWon;
  }

  return {
    kind: primary.kind,
    create: (record, ttlSeconds) => decide((verbs) => verbs.create(record, ttlSeconds)),
    get: (id) => carryOut((verbs) => verbs.get(id)),
    replace: (previous, next, ttlSeconds) => decide((verbs) => verbs.replace(previous, next, ttlSeconds)),
    extend: (ids, ttlSeconds) => carryOut((verbs) => verbs.extend(ids, ttlSeconds)),
    remove: (ids) => carryOut((verbs) => verbs.remove(ids)),
    removeIf: (record) => decide((verbs) => verbs.removeIf(record)),
    putLease: (lease, ttlSeconds) => carryOut((verbs) => verbs.putLease(lease, ttlSeconds)),
    getLease: (id) => carryOut((verbs) => verbs.getLease(id)),
    removeLease: (id) => carryOut((verbs) => verbs.removeLease(id)),
    enlist: (fingerprint, sessionId, initialize, ttlSeconds) =>
      carryOut((verbs) => verbs.enlist(fingerprint, sessionId, initialize, ttlSeconds)),
    trace: (fingerprint) => carryOut((verbs) => verbs.trace(fingerprint)),
    delist: (fingerprint, sessionId) => carryOut((verbs) => verbs.delist(fingerprint, sessionId)),
    seat: (caller, sessionId, owner, ttlSeconds) =>
      carryOut((verbs) => verbs.seat(caller, sessionId, owner, ttlSeconds)),
    unseat: (caller, sessionIds) => carryOut((verbs) => verbs.unseat(caller, sessionIds)),
    seatsOf: (caller) => carryOut((verbs) => verbs.seatsOf(caller)),
    writeJournals: (changes, ttlSeconds) => carryOut((verbs) => verbs.writeJournals(changes, ttlSeconds)),
    readJournal: (id, epoch) => carryOut((verbs) => verbs.readJournal(id, epoch)),
    removeJournal: (id, epoch) => carryOut((verbs) => verbs.removeJournal(id, epoch)),
    async ready() {
      // Who decides is asked of both, once; a mirror that is away keeps nobody longer than its deadline.
      await Promise.allSettled([primaryArchive.ready(), mirrorArchive.ready()]);
      const phaseNow = await phase.fresh().catch(() => "none" as const);
      await (phaseNow === "to" ? mirror : primary).ready();
    },
    close: () => (closing ??= close()),
    state: () => current().primary.store.state(),
    mirrorState() {
      const { queue, sync, outage, mirror: copy } = current();
      return {
        queued: queue.queued(),
        dropped: forward.queue.dropped() + backward.queue.dropped(),
        lagSeconds: queue.lagSeconds(),
        divergent: sync.divergent(),
        isReading: outage.isOn,
        state: copy.store.state(),
        sync: sync.doing(),
        phase: phase.known(),
      };
    },
    beat() {
      if (closing) return;
      phase.beat();
      current().beat();
    },
    onPrimaryBack: (callback) => void callbacks.add(callback),
  };

  async function close(): Promise<void> {
    await current()
      .queue.flush(FLUSH_MS)
      .catch(() => undefined);
    forward.queue.close();
    backward.queue.close();
    await Promise.all([forward.sync.close(), backward.sync.close()]);
    await Promise.all([primary.close(), mirror.close(), primaryArchive.close(), mirrorArchive.close()]);
  }
}
