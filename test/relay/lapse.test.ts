import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { watchLapses } from "../../src/relay/lapse.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] }));
afterEach(() => void vi.useRealTimers());

function watch() {
  const onLapse = vi.fn();
  return { onLapse, lapses: watchLapses(onLapse) };
}

test("tells of deafness of a second and more once it is over, and only once", () => {
  const { onLapse, lapses } = watch();
  lapses.deaf();
  vi.advanceTimersByTime(1000);
  lapses.deaf();
  expect(onLapse).not.toHaveBeenCalled();
  lapses.hears();
  lapses.hears();
  expect(onLapse).toHaveBeenCalledTimes(1);
});

test("does not tell of less than a second", () => {
  const { onLapse, lapses } = watch();
  for (let time = 0; time < 3; time += 1) {
    lapses.deaf();
    vi.advanceTimersByTime(999);
    lapses.hears();
  }
  expect(onLapse).not.toHaveBeenCalled();
});

test("counts from when something was heard last, not from when that was found out", () => {
  const { onLapse, lapses } = watch();
  const heardAt = performance.now();
  vi.advanceTimersByTime(999);
  lapses.deaf(heardAt);
  vi.advanceTimersByTime(1);
  lapses.hears();
  expect(onLapse).toHaveBeenCalledTimes(1);
});

test("tells of a frozen process", () => {
  const { onLapse, lapses } = watch();
  vi.advanceTimersByTime(5000);
  expect(onLapse).not.toHaveBeenCalled();
  const now = performance.now();
  const frozen = vi.spyOn(performance, "now").mockReturnValue(now + 2000);
  vi.advanceTimersToNextTimer();
  frozen.mockRestore();
  expect(onLapse).toHaveBeenCalledTimes(1);
  lapses.close();
});
