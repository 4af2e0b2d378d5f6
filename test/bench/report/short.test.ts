import { expect, test } from "vitest";
import { GENERAL } from "../options.ts";
import { run } from "./runs.ts";
import { SHORT, compare, complaintsOf, hasShape } from "./short.ts";

/** Each gateway at so many times its floor, in two rounds on a machine that gets slower. */
const figures = (ratios: Record<string, number>) => ({
  runs: [1, 3].flatMap((cpu, index) =>
    Object.entries(ratios).flatMap(([gateway, ratio]) => [
      run(floorOf(gateway), index + 1, cpu),
      run(gateway, index + 1, cpu * ratio),
    ]),
  ),
});
const floorOf = (gateway: string) =>
  ({ gateway: "sse-bridge", "gateway-shared": "sse-bridge-shared" })[gateway] ?? "streamable-bridge";
const committed = figures({ gateway: 1.2, "gateway-shared": 1.2, "gateway-streamable": 1.3 });

test("has no complaint when nothing grew by more than 15 %", () => {
  const now = figures({ gateway: 1.37, "gateway-shared": 1, "gateway-streamable": 1.3 });
  expect(complaintsOf(compare(committed, now))).toEqual([]);
});

test("says which gateway grew, and by how much", () => {
  const now = figures({ gateway: 1.2, "gateway-shared": 1.2, "gateway-streamable": 1.56 });
  expect(complaintsOf(compare(committed, now))).toEqual([
    "gateway-streamable costs 1.56 x the CPU per call of streamable-bridge; committed are 1.3 x. That is +20.0 %, and up to +15.0 % is let through.",
  ]);
});

test("lets nothing through that was not measured, now or then", () => {
  const some = figures({ gateway: 1.2, "gateway-shared": 1.2 });
  expect(complaintsOf(compare(committed, some))).toEqual([
    "gateway-streamable or streamable-bridge did not run, so nothing is known of it.",
  ]);
  expect(complaintsOf(compare(some, committed))).toEqual([
    "gateway-streamable has no committed ratio: run `npm run bench -- report`.",
  ]);
});

test("compares with figures of its own shape only", () => {
  const taken = { ...GENERAL, ...SHORT.options };
  expect(hasShape(taken, SHORT.options)).toBe(true);
  expect(hasShape({ ...taken, bytes: 32 }, SHORT.options)).toBe(false);
});
