import type { GuardedSessionStore } from "./guard.ts";
import { toFailure, unavailable } from "./store-failure.ts";

/** One write that the mirror has yet to take. */
export interface Replay {
  /** What it belongs to: writes that share one of these are carried out in order. None: it goes alone, after all before it. */
  groups: readonly string[];
  /** Keys that it writes, and whether it removes them. */
  keys: readonly string[];
  removes?: true;
  /** Bytes that it holds, where it holds many. */
  bytes?: number;
  /** Carries it out on the mirror. `waitedMs`: how long ago the first store took it. May be called again. */
  run(waitedMs: number): Promise<void>;
}

export interface MirrorQueueParts {
  mirror: GuardedSessionStore;
  /** Keys that may wait to be written. */
  limit: number;
  now: () => number;
  /** False while nothing may be replayed. */
  mayReplay: () => boolean;
}

export interface MirrorQueue {
  push(replay: Replay): void;
  /** Goes on with what waits. It also goes on by itself, except after the mirror was away. Never rejects. */
  drain(): Promise<void>;
  /** Resolves when nothing waits any more. Rejects with `store_unavailable` when the mirror is away or time is up. */
  flush(limitMs: number): Promise<void>;
  /** Whether a write to this key waits. */
  isPending(key: string): boolean;
  /** Keys that wait. */
  queued(): number;
  /** Keys whose writes were given up. */
  dropped(): number;
  /** For how long the oldest has been waiting, in seconds. */
  lagSeconds(): number;
  /** Keys that the mirror may have wrong, and whether they were removed. `isWhole` is false when there were too many to keep. */
  takeSuspects(): { keys: Map<string, "written" | "removed">; isWhole: boolean };
  hasSuspects(): boolean;
  /** Gives up whatever waits. */
  close(): void;
}

interface Waiting extends Replay {
  takenAt: number;
}

const AT_ONCE = 64;
const LOOK_AHEAD = 512;
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_SUSPECTS = 10_000;

/** Writes on their way to the mirror, in the order in which the first store took them. Nobody waits for it. */
export function createMirrorQueue({ mirror, limit, now, mayReplay }: MirrorQueueParts): MirrorQueue {
  let waiting = new Set<Waiting>();
  let flying: Waiting[] = [];
  const pending = new Map<string, number>();
  let suspects = new Map<string, "written" | "removed">();
  let isWhole = true;
  let size = 0;
  /** Of these, keys that the mirror is being given: they are not given up. */
  let given = 0;
  let bytes = 0;
  let dropped = 0;
  let draining: Promise<void> | undefined;
  let isClosed = false;
  /** The mirror was away: whoever calls `drain` tries again. */
  let isResting = false;

  const weigh = (replay: Replay): number => Math.max(1, replay.keys.length);

  function settle(replay: Waiting): void {
    size -= weigh(replay);
    bytes -= replay.bytes ?? 0;
    for (const key of replay.keys) {
      const left = (pending.get(key) ?? 1) - 1;
      if (left > 0) pending.set(key, left);
      else pending.delete(key);
    }
  }

  function giveUp(replay: Waiting): void {
    settle(replay);
    dropped += weigh(replay);
    for (const key of replay.keys) {
      if (suspects.size < MAX_SUSPECTS || suspects.has(key))
        suspects.set(key, replay.removes ? "removed" : "written");
      else isWhole = false;
    }
  }

  /** The next that may be carried out side by side. */
  function pick(): Waiting[] {
    const picked: Waiting[] = [];
    const taken = new Set<string>();
    let looked = 0;
    for (const replay of waiting) {
      if (picked.length >= AT_ONCE || (looked += 1) > LOOK_AHEAD) break;
      if (replay.groups.length === 0) {
        if (looked === 1) picked.push(replay);
        break;
      }
      if (!replay.groups.some((group) => taken.has(group))) picked.push(replay);
      for (const group of replay.groups) taken.add(group);
    }
    return picked;
  }

  /** False when the mirror is away and took none. */
  async function step(): Promise<boolean> {
    flying = pick();
    for (const replay of flying) waiting.delete(replay);
    given = flying.reduce((sum, replay) => sum + weigh(replay), 0);
    const outcomes = await Promise.all(
      flying.map(async (replay) => {
        try {
          await replay.run(now() - replay.takenAt);
          return "done";
        } catch (error) {
          return toFailure(error).kind === "refused" ? "refused" : "away";
        }
      }),
    );
    const again = flying.filter((replay, at) => {
      if (outcomes[at] === "done") settle(replay);
      else if (outcomes[at] === "refused") giveUp(replay);
      return outcomes[at] === "away";
    });
    flying = [];
    given = 0;
    if (again.length > 0) waiting = new Set([...again, ...waiting]);
    trim();
    return again.length === 0 || outcomes.includes("done");
  }

  function trim(): void {
    for (const replay of waiting) {
      if (size - given <= limit && bytes <= MAX_BYTES) return;
      waiting.delete(replay);
      giveUp(replay);
    }
  }

  async function run(): Promise<void> {
    isResting = false;
    while (waiting.size > 0 && !isClosed && !isResting) {
      isResting = !mayReplay() || mirror.state() === "open" || !(await step());
    }
  }

  const drain = (): Promise<void> =>
    (draining ??= run().finally(() => {
      draining = undefined;
      if (waiting.size > 0 && !isResting && !isClosed) void drain();
    }));

  return {
    push(replay) {
      if (isClosed) return;
      size += weigh(replay);
      bytes += replay.bytes ?? 0;
      for (const key of replay.keys) pending.set(key, (pending.get(key) ?? 0) + 1);
      waiting.add({ ...replay, takenAt: now() });
      trim();
      if (!isResting) void drain();
    },
    drain,
    async flush(limitMs) {
      const giveUpAt = now() + limitMs;
      while (size > 0) {
        if (isClosed || mirror.state() === "open" || now() >= giveUpAt)
          throw unavailable(toFailure(new Error("TIMEOUT")));
        let timer: NodeJS.Timeout | undefined;
        const tooLate = new Promise<void>((resolve) => (timer = setTimeout(resolve, giveUpAt - now())));
        await Promise.race([drain(), tooLate]).finally(() => clearTimeout(timer));
        if (size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    isPending: (key) => pending.has(key),
    queued: () => size,
    dropped: () => dropped,
    lagSeconds: () => {
      const [oldest] = flying.length > 0 ? flying : waiting;
      return oldest === undefined ? 0 : Math.max(0, (now() - oldest.takenAt) / 1000);
    },
    takeSuspects() {
      const taken = { keys: suspects, isWhole };
      suspects = new Map();
      isWhole = true;
      return taken;
    },
    hasSuspects: () => suspects.size > 0 || !isWhole,
    close() {
      isClosed = true;
      waiting.clear();
    },
  };
}
