import type { StoreConfig } from "./config.ts";
import type { Events } from "./events.ts";
import type { Log } from "./log.ts";
import type { Archive } from "./session-store/archive.ts";
import { bridgeSessionStore, type FallbackState } from "./session-store/fallback.ts";
import { guardSessionStore, type GuardedSessionStore, type GuardOptions } from "./session-store/guard.ts";
import { createMemorySessionStore } from "./session-store/memory.ts";
import type { MirrorState } from "./session-store/mirror.ts";
import type { SessionStore } from "./session-store/session-store.ts";
import type { StoreTarget } from "./session-store/target.ts";

/** The session store of a gateway, with what stands around it. */
export interface OpenedStore {
  store: GuardedSessionStore;
  /** The store itself, without its fallback; where it has a mirror, the one of the two that decides. */
  primary: GuardedSessionStore;
  /** How the memory behind the store does, where there is one. */
  fallback: (() => FallbackState) | undefined;
  /** How the second store does, where there is one. */
  mirror: (() => MirrorState) | undefined;
  /** Calls back when the store serves again, and may have lost what it had. */
  onBack(callback: () => void): void;
  /** Does what is due; to be called about once a second. Never throws. */
  beat(now: number): void;
}

export interface StorePlace {
  instanceId: string;
  log: Log;
  events: Events;
  /** As `GuardOptions.onCall`. */
  onCall: GuardOptions["onCall"];
}

interface Place {
  prefix: string;
  deadlineMs: number;
  instanceId?: string;
  log: Log;
}

/**
 * Opens the session store that was chosen, with its fallback or its mirror. The only place that knows
 * which stores there are. Rejects with a ConfigError when it cannot be used as it is configured.
 */
export async function openSessionStore(config: StoreConfig, place: StorePlace): Promise<OpenedStore> {
  const { instanceId, log, events, onCall } = place;
  const { prefix, timeoutMs: deadlineMs, mirror } = config;
  const common = { prefix, deadlineMs, instanceId, log };
  const driver = await openDriver(config.target, common);
  const callbacks = new Set<() => void>();
  const told: Events = {
    emit(event) {
      events.emit(event);
      if (event.type === "store_up") for (const callback of callbacks) callback();
    },
  };
  // What is in this process answers in the same turn, and a deadline costs more than the answer.
  const guard = { deadlineMs: config.target.kind === "memory" ? undefined : deadlineMs, onCall };
  const primary = guardSessionStore(driver.store, { ...guard, log, events: told });
  if (config.fallback === "memory") {
    const bridge = bridgeSessionStore({ primary, archive: await driver.archive(), log });
    const { fallback, beat, reach } = bridge;
    return {
      store: bridge,
      primary: { ...primary, ready: reach },
      fallback,
      mirror: undefined,
      onBack: () => {},
      beat: (now) => void beat(now),
    };
  }
  if (mirror === undefined)
    return {
      store: primary,
      primary,
      fallback: undefined,
      mirror: undefined,
      onBack: (callback) => void callbacks.add(callback),
      beat: () => {},
    };
  const second = await openDriver(mirror.target, common).catch(async (error: unknown) => {
    await primary.close();
    throw error;
  });
  const { mirrorSessionStore } = await import("./session-store/mirror.ts");
  const mirrored = mirrorSessionStore({
    primary,
    mirror: guardSessionStore(second.store, { deadlineMs, log: log.child({ mirror: true }) }),
    primaryArchive: await driver.archive(),
    mirrorArchive: await second.archive(),
    ...mirror,
    instanceId,
    log,
  });
  return {
    store: mirrored,
    primary: mirrored,
    fallback: undefined,
    mirror: () => mirrored.mirrorState(),
    onBack: (callback) => mirrored.onPrimaryBack(callback),
    beat: () => mirrored.beat(),
  };
}

/**
 * Opens a store as keys and values, for the command line. A file store is read beside the gateway that has it; to be
 * written, it must be had. Rejects with a ConfigError, as opening the store does.
 */
export async function openArchive(
  target: StoreTarget,
  { mayWrite, ...place }: Place & { mayWrite: boolean },
): Promise<Archive> {
  if (target.kind === "file" && !mayWrite) {
    const { readFileArchive } = await import("./session-store/file-archive.ts");
    return readFileArchive(target.directory, place.log);
  }
  if (target.kind === "redis") {
    const { openRedisArchive } = await import("./session-store/redis-archive.ts");
    return openRedisArchive({ ...target, ...place });
  }
  if (target.kind === "upstash") {
    const { openUpstashArchive } = await import("./session-store/upstash-archive.ts");
    return openUpstashArchive({ ...target, ...place });
  }
  return (await openDriver(target, place)).archive();
}

interface Driver {
  store: SessionStore;
  archive(): Promise<Archive>;
}

/** Loads no store but the one that is opened: each brings a client, which costs a start more than our own code. */
async function openDriver(target: StoreTarget, place: Place): Promise<Driver> {
  switch (target.kind) {
    case "memory": {
      const store = createMemorySessionStore();
      return { store, archive: () => Promise.resolve(store.archive) };
    }
    case "file": {
      const { openFileSessionStore } = await import("./session-store/file.ts");
      const { instanceId, log } = place;
      const store = await openFileSessionStore({ ...target, instanceId, log });
      return { store, archive: () => Promise.resolve(store.archive) };
    }
    case "redis": {
      const { openRedisSessionStore } = await import("./session-store/redis.ts");
      return {
        store: openRedisSessionStore({ ...target, ...place }),
        archive: () => openArchive(target, { ...place, mayWrite: true }),
      };
    }
    case "upstash": {
      const { openUpstashSessionStore } = await import("./session-store/upstash.ts");
      return {
        store: openUpstashSessionStore({ ...target, ...place }),
        archive: () => openArchive(target, { ...place, mayWrite: true }),
      };
    }
  }
}
