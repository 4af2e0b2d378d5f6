import { createLog } from "../../src/log.ts";
import type { Archive } from "../../src/session-store/archive.ts";
import { guardSessionStore } from "../../src/session-store/guard.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import {
  mirrorSessionStore,
  type MirroredSessionStore,
  type MirrorOptions,
} from "../../src/session-store/mirror.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { StoreFailure, unavailable } from "../../src/session-store/store-failure.ts";

/** What may happen to a verb of a test's store: it may throw or wait. */
export type Trouble = (verb: string) => void | Promise<void>;

const log = createLog("silent");

export const away = (): never => {
  throw unavailable(new StoreFailure("unreachable", "ECONNREFUSED"));
};

/** A store in memory that can be taken away, emptied and watched. */
export class Place {
  #now: () => number;
  #held: ReturnType<typeof createMemorySessionStore>;
  /** Met by each verb before it is carried out. */
  trouble: Trouble = () => undefined;
  /** Met by each verb of a store after it was carried out. */
  late: Trouble = () => undefined;
  readonly calls: string[] = [];

  constructor(now: () => number) {
    this.#now = now;
    this.#held = createMemorySessionStore({ now });
  }

  /** It begins anew with nothing. */
  empty(): void {
    this.#held = createMemorySessionStore({ now: this.#now });
  }

  /** As its gateways see it, each by a store of its own. */
  store(): SessionStore {
    return this.#seen(() => this.#held, true);
  }

  archive(): Archive {
    return this.#seen(() => this.#held.archive, false);
  }

  /** Past all trouble. */
  get bare(): SessionStore & { readonly archive: Archive } {
    return this.#held;
  }

  #seen<T extends object>(target: () => T, isCounted: boolean): T {
    let isClosed = false;
    return new Proxy({} as T, {
      get: (_, name) => {
        const member: unknown = Reflect.get(target(), name);
        if (typeof member !== "function") return member;
        if (name === "close") return async () => void (isClosed = true);
        return async (...args: unknown[]): Promise<unknown> => {
          if (isClosed) throw unavailable(new StoreFailure("unreachable", "CLOSED"));
          if (isCounted) this.calls.push(String(name));
          await this.trouble(String(name));
          const answer = await (Reflect.apply(
            Reflect.get(target(), name) as () => unknown,
            target(),
            args,
          ) as Promise<unknown>);
          if (isCounted) await this.late(String(name));
          return answer;
        };
      },
    });
  }

  async keys(): Promise<string[]> {
    const { entries } = await this.#held.archive.read({ count: 1_000_000 });
    return entries.map(({ key }) => key).sort();
  }
}

/** Two places and mirrored stores over them, with a clock that only the test turns. */
export class Stage {
  time = 1_000_000;
  readonly now = (): number => this.time;
  readonly one = new Place(this.now);
  readonly other = new Place(this.now);

  open(over: Partial<MirrorOptions> = {}): MirroredSessionStore {
    const guard = (store: SessionStore) =>
      guardSessionStore(store, { deadlineMs: 200, log, now: this.now, random: () => 0 });
    return mirrorSessionStore({
      primary: guard(this.one.store()),
      mirror: guard(this.other.store()),
      primaryArchive: this.one.archive(),
      mirrorArchive: this.other.archive(),
      queueLimit: 1000,
      syncSeconds: 300,
      instanceId: "7f3a9c",
      log,
      now: this.now,
      random: () => 0,
      ...over,
    });
  }

  /** Lets time pass, a second a beat, and what each begins come to an end. */
  async pass(seconds: number, ...stores: MirroredSessionStore[]): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      this.time += 1000;
      for (const store of stores) store.beat();
      await settled(stores);
    }
  }
}

/** How much faster time goes on a quick stage. */
const HASTE = 60;
/** A clock that is in a hurry. */
export const quick = (): number => performance.now() * HASTE;

/** Two places where time goes by itself, and fast. */
export class QuickStage extends Stage {
  override readonly now = quick;
  override readonly one: Place;
  override readonly other: Place;

  constructor(one = new Place(quick), other = new Place(quick)) {
    super();
    this.one = one;
    this.other = other;
  }
}

/** Resolves when no comparison is under way. */
export async function settled(stores: readonly MirroredSessionStore[]): Promise<void> {
  do await new Promise((resolve) => setTimeout(resolve, 1));
  while (stores.some((store) => store.mirrorState().sync !== "idle"));
}
