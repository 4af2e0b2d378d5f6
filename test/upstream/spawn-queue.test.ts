import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { SpawnQueue } from "../../src/upstream/spawn-queue.ts";
import { never } from "./recorder.ts";

const queueOf = (limits: Partial<ConstructorParameters<typeof SpawnQueue>[0]> = {}): SpawnQueue =>
  new SpawnQueue({ maxStarting: 2, maxChildren: 3, maxWaiting: 2, ...limits });

/** Lets every promise that can settle do so. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("SpawnQueue", () => {
  it("lets so many start at once, and the next when one has started", async () => {
    const queue = queueOf();
    const first = await queue.enter(never());
    await queue.enter(never());
    const third = queue.enter(never());
    await settle();
    expect([queue.children, queue.waiting]).toEqual([2, 1]);
    first.started();
    first.started();
    await third;
    expect([queue.children, queue.waiting]).toEqual([3, 0]);
  });

  it("LIM-13 lets so many exist, and the next when one is gone", async () => {
    const queue = queueOf({ maxStarting: 10 });
    const places = await Promise.all([1, 2, 3].map(() => queue.enter(never())));
    for (const place of places) place.started();
    const fourth = queue.enter(never());
    const fifth = queue.enter(never());
    await settle();
    expect([queue.children, queue.waiting]).toEqual([3, 2]);
    places[0]?.release();
    places[0]?.release();
    await fourth;
    await settle();
    expect([queue.children, queue.waiting]).toEqual([3, 1]);
    places[1]?.release();
    await fifth;
  });

  it("frees both places of one that is gone before it has started", async () => {
    const queue = queueOf({ maxStarting: 1, maxChildren: 1 });
    const place = await queue.enter(never());
    const next = queue.enter(never());
    place.release();
    place.started();
    await next;
    expect([queue.children, queue.waiting]).toEqual([1, 0]);
  });

  it("serves in the order of arrival", async () => {
    const queue = queueOf({ maxStarting: 1, maxChildren: 100, maxWaiting: 100 });
    const served: number[] = [];
    await Promise.all(
      Array.from({ length: 50 }, async (_, n) => {
        const place = await queue.enter(never());
        served.push(n);
        await settle();
        place.started();
      }),
    );
    expect(served).toEqual(Array.from({ length: 50 }, (_, n) => n));
  });

  it("turns away whom it has no room to let wait", async () => {
    const queue = queueOf({ maxStarting: 1 });
    const place = await queue.enter(never());
    const waiting = [queue.enter(never()), queue.enter(never())];
    await expect(queue.enter(never())).rejects.toMatchObject({ reason: "upstream_queue_full" });
    place.started();
    (await waiting[0])?.started();
    await waiting[1];
  });

  it("lets a waiter give up and serves the next in its stead", async () => {
    const queue = queueOf({ maxStarting: 1 });
    const place = await queue.enter(never());
    const impatient = new AbortController();
    const first = queue.enter(impatient.signal);
    const second = queue.enter(never());
    impatient.abort(new Error("the client left"));
    await expect(first).rejects.toThrow("the client left");
    expect(queue.waiting).toBe(1);
    place.started();
    await second;
    await expect(queue.enter(impatient.signal)).rejects.toThrow("the client left");
    expect([queue.children, queue.waiting]).toEqual([2, 0]);
  });

  it("ignores one who gives up after it was served", async () => {
    const queue = queueOf({ maxStarting: 1 });
    const place = await queue.enter(never());
    const patient = new AbortController();
    const waiting = queue.enter(patient.signal);
    place.started();
    await waiting;
    expect(getEventListeners(patient.signal, "abort")).toEqual([]);
    patient.abort();
    expect([queue.children, queue.waiting]).toEqual([2, 0]);
  });

  it("sends all waiters away when it is closed", async () => {
    const queue = queueOf({ maxStarting: 1 });
    const place = await queue.enter(never());
    const waiting = queue.enter(never());
    queue.close();
    queue.close();
    await expect(waiting).rejects.toMatchObject({ reason: "upstream_start_failed" });
    await expect(queue.enter(never())).rejects.toMatchObject({ reason: "upstream_start_failed" });
    place.release();
    expect([queue.children, queue.waiting]).toEqual([0, 0]);
  });
});
