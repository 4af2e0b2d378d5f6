import { describe, expect, it } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { Whereabouts } from "../../src/session/whereabouts.ts";
import { watched } from "./watched-store.ts";

describe("Whereabouts", () => {
  const record = {
    v: 1,
    id: "11111111-1111-4111-8111-111111111111",
    owner: "i-2",
    epoch: 1,
    caller: "alice",
    server: "s",
    transport: "sse",
    createdAt: "2026-01-01T00:00:00Z",
    client: { userAgent: "", address: "" },
  } as const;
  const lease = { v: 1, id: "i-2", startedAt: "2026-01-01T00:00:00Z", state: "serving" } as const;

  it("finds a session on an instance that lives", async () => {
    const { store } = watched();
    await store.create(record, 60);
    await store.putLease(lease, 60);
    expect(await new Whereabouts(store, "i-1").find(record.id)).toEqual({ record, owner: lease });
  });

  it("FLT-11 finds a session whose owner is dead without one, for somebody to take it over", async () => {
    const { store } = watched();
    await store.create(record, 60);
    expect(await new Whereabouts(store, "i-1").find(record.id)).toEqual({ record, owner: undefined });
    expect(await store.get(record.id)).toEqual(record);
  });

  it("finds a session that its owner has let go of without one, even its own", async () => {
    const { store } = watched();
    const released = { ...record, released: true } as const;
    await store.create(released, 60);
    await store.putLease(lease, 60);
    for (const instance of ["i-1", "i-2"]) {
      expect(await new Whereabouts(store, instance).find(record.id)).toEqual({
        record: released,
        owner: undefined,
      });
    }
  });

  it("asks again after it was told to forget, and does not believe an answer that was under way", async () => {
    const { store } = watched();
    await store.create(record, 60);
    await store.putLease(lease, 60);
    const whereabouts = new Whereabouts(store, "i-1");
    const early = whereabouts.find(record.id);
    whereabouts.forget(record.id);
    await store.remove([record.id]);
    await early;
    expect(await whereabouts.find(record.id)).toBeUndefined();
  });

  it("asks the store once however many wait, and again only after seconds", async () => {
    const { store, watch } = watched();
    await store.create(record, 60);
    await store.putLease(lease, 60);
    watch.calls.length = 0;
    const whereabouts = new Whereabouts(store, "i-1");
    await Promise.all(Array.from({ length: 20 }, () => whereabouts.find(record.id)));
    await whereabouts.find(record.id);
    expect(watch.calls).toEqual(["get", "getLease"]);
  });

  it("FLT-02 says that it cannot know while the store is away, and remembers nothing of it", async () => {
    const { store, watch } = watched();
    await store.create(record, 60);
    await store.putLease(lease, 60);
    const whereabouts = new Whereabouts(store, "i-1");
    watch.isAway = true;
    await expect(whereabouts.find(record.id)).rejects.toThrow(new GatewayError("store_unavailable"));
    watch.isAway = false;
    expect(await whereabouts.find(record.id)).toBeDefined();
  });

  it("does not take a record of its own without a session for one that lives", async () => {
    const { store } = watched();
    await store.create({ ...record, owner: "i-1" }, 60);
    expect(await new Whereabouts(store, "i-1").find(record.id)).toBeUndefined();
  });
});
