import { describe, expect, it } from "vitest";
import { Queue } from "../../src/audit/queue.ts";

describe("the queue of records", () => {
  it("loses none that it counts while a gap is being written", () => {
    const queue = new Queue({ records: 1, bytes: 100 });
    const at = new Date(0);
    expect([queue.add("a", at), queue.add("b", at)]).toEqual([true, false]);
    expect(queue.show(9)).toMatchObject(["a", { lost: 1 }]);
    queue.add("c", at);
    queue.drop(2);
    expect(queue.show(9)).toMatchObject([{ lost: 1 }]);
    queue.drop(1);
    expect(queue.add("d", at)).toBe(true);
  });

  it("has room for as many bytes as it is told to, and again when they are gone", () => {
    const queue = new Queue({ records: 100, bytes: 3 });
    const at = new Date(0);
    expect([queue.add("aa", at), queue.add("bb", at), queue.records]).toEqual([true, false, 1]);
    queue.show(1);
    queue.drop(1);
    expect(queue.add("bbb", at)).toBe(true);
  });
});
