import { randomUUID } from "node:crypto";

import { describe, expect, onTestFinished, test } from "vitest";

import { createLog } from "../../src/log.ts";
import { guardSessionStore } from "../../src/session-store/guard.ts";
import type { MirroredSessionStore } from "../../src/session-store/mirror.ts";
import type { SessionRecord } from "../../src/session-store/session-store.ts";
import { readControl } from "../../src/session-store/switch-control.ts";
import { abandon, switchOver, type SwitchProgress } from "../../src/session-store/switch.ts";
import { eventually } from "../support/eventually.ts";
import { aChange } from "./backend.ts";
import { away, quick as now, QuickStage, type Stage } from "./mirrored.ts";
import { aLease, aRecord } from "./records.ts";

const TTL = 3600;
interface Instance {
  id: string;
  store: MirroredSessionStore;
  /** Ends it as `kill -9` does. */
  kill: () => void;
}

/** Gateways with a lease and a heartbeat. */
function serve(stage: Stage, id: string = randomUUID().slice(0, 6), isMirrored = true): Instance {
  const mirrored = stage.open({ instanceId: id, syncSeconds: 0 });
  const log = createLog("silent");
  const alone = guardSessionStore(stage.one.store(), { deadlineMs: 200, log });
  const beat = (): void => {
    if (isMirrored) mirrored.beat();
    void (isMirrored ? mirrored : alone).putLease(aLease({ id }), 90).catch(() => undefined);
  };
  beat();
  const beats = setInterval(beat, 15);
  const kill = (): void => clearInterval(beats);
  onTestFinished(kill);
  return { id, store: mirrored, kill };
}

const moving = (
  stage: Stage,
  over: { signal?: AbortSignal; onProgress?: (at: SwitchProgress) => void } = {},
) => ({
  from: stage.one.archive(),
  to: stage.other.archive(),
  batch: 50,
  now,
  pollMs: 10,
  waitMs: 600_000,
  ...over,
});

/** Sessions that change all the while, and whose owners are taken for dead all the while. */
function traffic(instances: readonly Instance[], records: readonly SessionRecord[]) {
  const wins = new Map<string, Set<string>>();
  const problems: unknown[] = [];
  let isOver = false;
  let done = 0;
  const won = (by: string, { id, epoch, rev }: SessionRecord): void => {
    const key = `${id} ${epoch}.${rev ?? 0}`;
    wins.set(key, (wins.get(key) ?? new Set()).add(by));
  };
  async function work({ id: me, store }: Instance, seed: number): Promise<void> {
    for (let turn = seed; !isOver; turn += 7) {
      const id = records[turn % records.length]?.id ?? "";
      try {
        const found = await store.get(id);
        if (found === undefined) throw new Error("a session was lost");
        const next =
          found.owner === me
            ? { ...found, rev: (found.rev ?? 0) + 1 }
            : { ...found, owner: me, epoch: found.epoch + 1, rev: 0 };
        if (await store.replace(found, next, TTL)) won(me, next);
        await store.seat("caller", id, me, TTL);
        await store.writeJournals([aChange({ at: `${turn}` }, { id, epoch: found.epoch })], TTL);
        done += 1;
      } catch (error) {
        problems.push(error);
      }
      await aMoment(1);
    }
  }
  const working = instances.map((instance, at) => work(instance, at));
  return {
    problems,
    done: () => done,
    async stop() {
      isOver = true;
      await Promise.all(working);
      return [...wins].filter(([, by]) => by.size > 1);
    },
  };
}

const aMoment = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Ends these sessions one after the other. */
async function end(instances: readonly Instance[], records: readonly SessionRecord[]): Promise<void> {
  for (const [at, record] of records.entries()) {
    expect(await instances[at % instances.length]?.store.removeIf(record)).toBe(true);
    await aMoment(30);
  }
}

async function fill(stage: Stage, count: number): Promise<SessionRecord[]> {
  const records = Array.from({ length: count }, () => aRecord());
  for (const record of records) await stage.one.bare.create(record, TTL);
  return records;
}

describe("a live switch", () => {
  test("moves sessions that are claimed and changed all the while: none lost, none won twice, no error", async () => {
    const stage = new QuickStage();
    const records = await fill(stage, 200);
    const ending = await fill(stage, 60);
    for (const place of [stage.one, stage.other])
      place.trouble = place.late = () => aMoment(Math.random() * 4);
    const instances = ["a", "b", "c"].map((id) => serve(stage, id));
    await Promise.all(instances.map(({ store }) => store.get("x")));
    const load = traffic(instances, records);
    const ended = end(instances, ending);
    const steps: string[] = [];
    const report = await switchOver(moving(stage, { onProgress: ({ step }) => steps.push(step) }));
    await ended;
    const before = load.done();
    await eventually(() => expect(load.done()).toBeGreaterThan(before + 50));
    expect(await load.stop()).toEqual([]);
    expect(load.problems).toEqual([]);
    expect([...new Set(steps)]).toEqual([
      "both",
      "backfill",
      "verify",
      "pivot",
      "verify-pivot",
      "to",
      "verify-to",
    ]);
    expect(report.instances.sort()).toEqual(["a", "b", "c"]);
    expect(report.keys).toBeGreaterThanOrEqual(200);
    for (const { store } of instances) {
      expect(store.mirrorState().phase).toBe("to");
      await eventually(() => expect(store.mirrorState().queued).toBe(0));
    }
    for (const { id } of records) {
      const there = await stage.other.bare.get(id);
      expect(there).toBeDefined();
      expect(await stage.one.bare.get(id)).toEqual(there);
    }
    for (const { id } of ending) expect(await stage.other.bare.get(id)).toBeUndefined();
  });

  test("is gone on with after an interruption in each of its steps", async () => {
    const stage = new QuickStage();
    const records = await fill(stage, 120);
    const instances = ["a", "b"].map((id) => serve(stage, id));
    await Promise.all(instances.map(({ store }) => store.get("x")));
    const load = traffic(instances, records);
    for (const stop of ["both", "backfill", "verify", "pivot", "verify-pivot", "to", "verify-to"]) {
      const broken = new AbortController();
      const onProgress = ({ step }: SwitchProgress): void => void (step === stop && broken.abort());
      await expect(
        switchOver(moving(stage, { signal: broken.signal, onProgress })).then((report) =>
          // The last page of the last step is too late to break anything off.
          Promise.reject(Object.assign(new Error(stop === "verify-to" ? "aborted" : "done"), { report })),
        ),
      ).rejects.toThrow(/aborted/i);
    }
    await switchOver(moving(stage));
    expect(await load.stop()).toEqual([]);
    expect(load.problems).toEqual([]);
    for (const { store } of instances) expect(store.mirrorState().phase).toBe("to");
    for (const { id } of records) expect(await stage.other.bare.get(id)).toBeDefined();
  }, 40_000);

  test("keeps expiries, journals, seats and traces", async () => {
    const stage = new QuickStage();
    const [record] = await fill(stage, 1);
    if (!record) throw new Error("one was made");
    const journal = aChange({ entry: "text" }, { id: record.id });
    await stage.one.bare.writeJournals([journal], TTL);
    await stage.one.bare.seat("caller", record.id, "owner", TTL);
    await stage.one.bare.enlist("client", record.id, { a: 1 }, TTL);
    await switchOver(moving(stage));
    const there = stage.other.bare;
    expect(await there.readJournal(record.id, 0)).toEqual(journal.put);
    expect(await there.seatsOf("caller")).toEqual(new Map([[record.id, "owner"]]));
    expect(await there.trace("client")).toEqual({ sessions: [record.id], initialize: { a: 1 } });
    const [entry] = await there.archive.readKeys([`session:${record.id}`]);
    expect(entry?.ttlMs).toBeLessThan(TTL * 1000);
  });

  test("is refused, with nothing switched, while an instance serves without the mirror, and names it", async () => {
    const stage = new QuickStage();
    await fill(stage, 3);
    serve(stage, "fine");
    serve(stage, "odd", false);
    await expect(switchOver({ ...moving(stage), waitMs: 20_000 })).rejects.toThrow(
      /^instance odd does not answer/,
    );
    expect(await readControl(stage.one.archive())).toBeUndefined();
    expect(await readControl(stage.other.archive())).toBeUndefined();
    expect((await stage.other.keys()).filter((key) => key.startsWith("moving"))).toEqual([]);
  });

  test("is refused while an instance has another mirror", async () => {
    const stage = new QuickStage();
    const elsewhere = new QuickStage();
    const odd = new QuickStage(stage.one, elsewhere.other);
    serve(odd, "astray");
    await expect(switchOver({ ...moving(stage), waitMs: 20_000 })).rejects.toThrow(/astray/);
  });

  test.each(["both", "pivot"])(
    "is given up from %s, and the source goes on",
    async (phase) => {
      const stage = new QuickStage();
      const [record] = await fill(stage, 1);
      const { store } = serve(stage, "a");
      await store.get("x");
      const broken = new AbortController();
      const onProgress = ({ step, waitingFor }: SwitchProgress): void => {
        if (step === phase && waitingFor.length === 0) broken.abort();
      };
      await expect(switchOver(moving(stage, { signal: broken.signal, onProgress }))).rejects.toThrow();
      expect(store.mirrorState().phase).toBe(phase);
      await abandon(moving(stage));
      await eventually(() => expect(store.mirrorState().phase).toBe("none"));
      if (!record) throw new Error("one was made");
      const next = { ...record, owner: "a", epoch: 1 };
      expect(await store.replace(record, next, TTL)).toBe(true);
      expect(await stage.one.bare.get(record.id)).toEqual(next);
    },
    20_000,
  );

  test("is not given up once the destination decides", async () => {
    const stage = new QuickStage();
    await switchOver(moving(stage));
    await expect(abandon(moving(stage))).rejects.toThrow(/decides already/);
  });
});

describe("after a switch", () => {
  async function switched(): Promise<{ stage: QuickStage; record: SessionRecord }> {
    const stage = new QuickStage();
    const [record] = await fill(stage, 1);
    await switchOver(moving(stage));
    if (!record) throw new Error("one was made");
    return { stage, record };
  }

  test("a gateway that starts with the old settings asks the destination", async () => {
    const { stage, record } = await switched();
    const store = stage.open();
    const next = { ...record, owner: "a", epoch: 1 };
    expect(await store.replace(record, next, TTL)).toBe(true);
    expect(await stage.other.bare.get(record.id)).toEqual(next);
    expect(store.mirrorState().phase).toBe("to");
  });

  test("so does one that starts when the source is gone, or has lost everything", async () => {
    const { stage, record } = await switched();
    stage.one.empty();
    expect(await stage.open().get(record.id)).toEqual(record);
    stage.one.trouble = away;
    const store = stage.open();
    expect(await store.replace(record, { ...record, owner: "a", epoch: 1 }, TTL)).toBe(true);
  });

  test("the source may go for good while gateways serve", async () => {
    const stage = new QuickStage();
    const [record] = await fill(stage, 1);
    const { store } = serve(stage, "a");
    await switchOver(moving(stage));
    stage.one.trouble = away;
    await aMoment(800);
    if (!record) throw new Error("one was made");
    expect(await store.replace(record, { ...record, owner: "a", epoch: 1 }, TTL)).toBe(true);
  });

  test("a gateway that has the destination as its store, and no mirror or the source as one, just works", async () => {
    const { stage, record } = await switched();
    const turned = new QuickStage(stage.other, stage.one);
    const store = turned.open();
    expect(await store.replace(record, { ...record, owner: "a", epoch: 1 }, TTL)).toBe(true);
    expect((await stage.other.bare.get(record.id))?.owner).toBe("a");
    expect(store.mirrorState().phase).toBe("none");
  });

  test("what the source has is told to nobody before it was put right, even when the destination is away", async () => {
    const { stage, record } = await switched();
    // A claim that was begun in the middle phase and never decided.
    const begun = { ...record, owner: "7f3a9c", epoch: 1 };
    await stage.one.bare.replace(record, begun, TTL);
    const store = stage.open({ syncSeconds: 0 });
    await store.get("x");
    stage.other.trouble = away;
    await expect(store.get(record.id)).rejects.toMatchObject({ reason: "store_unavailable" });
    stage.other.trouble = () => undefined;
    await eventually(async () => {
      store.beat();
      expect(await stage.one.bare.get(record.id)).toEqual(record);
    });
    expect(await stage.other.bare.get(record.id)).toEqual(record);
  });

  test("moving back is refused while a gateway still has the old settings, and works when none has", async () => {
    const stage = new QuickStage();
    await fill(stage, 3);
    const old = serve(stage, "old");
    await switchOver(moving(stage));
    const back = { ...moving(stage), from: stage.other.archive(), to: stage.one.archive() };
    await expect(switchOver(back)).rejects.toThrow(/instance old still runs/);
    old.kill();
    await stage.other.bare.removeLease("old");
    await stage.one.bare.removeLease("old");
    const turned = new QuickStage(stage.other, stage.one);
    const { store } = serve(turned, "new");
    await eventually(async () => expect(await stage.other.bare.getLease("new")).toBeDefined());
    await switchOver(back);
    expect(store.mirrorState().phase).toBe("to");
  });
});
