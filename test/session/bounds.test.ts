import { describe, expect, it } from "vitest";
import { calmUntil, isStreamDue, overdue, type Standing } from "../../src/session/bounds.ts";
import { LIMITS } from "./scripted.ts";

const FINE: Standing = {
  openedAt: 0,
  bornAt: 0,
  hasBegun: true,
  orphanedAt: undefined,
  activeAt: 0,
  inFlight: 0,
  blockedSince: undefined,
  pendingBytes: 0,
  streamSince: 0,
  isQuiet: true,
};
const limits = { ...LIMITS, orphanMs: 120_000, streamMaxAgeMs: 10_000 };

describe("a session", () => {
  it.each([
    ["its first message", "no_first_message", { hasBegun: false }, limits.firstPostMs],
    ["its client", "client_gone", { orphanedAt: 0 }, limits.orphanMs],
    ["any message", "idle", {}, limits.idleMs],
    ["its reader", "slow_reader", { blockedSince: 0 }, limits.slowReaderMs],
    [
      "its reader of 32 KB",
      "slow_reader",
      { blockedSince: 0, pendingBytes: 32_000 },
      limits.slowReaderMs + 1000,
    ],
  ] as const)("has waited too long for %s exactly at its limit: %s", (_what, end, more, limit) => {
    expect(overdue({ ...FINE, ...more }, limits, limit - 1)).toBeUndefined();
    expect(overdue({ ...FINE, ...more }, limits, limit)).toBe(end);
  });

  it("is not idle while a request is in flight, and not late once it has begun", () => {
    expect(overdue({ ...FINE, inFlight: 1 }, limits, 1e12)).toBeUndefined();
    expect(overdue({ ...FINE, activeAt: 1000 }, limits, limits.idleMs + 999)).toBeUndefined();
  });

  it("without a grace ends as soon as its client is gone", () => {
    expect(overdue({ ...FINE, orphanedAt: 5 }, LIMITS, 5)).toBe("client_gone");
  });
});

describe("a calm session", () => {
  const calm = { ...limits, maxAgeMs: 50_000, idleMs: 40_000, streamMaxAgeMs: 0 };

  it.each([
    ["its idle limit", { activeAt: 5 }, calm, 40_005],
    ["its age", { activeAt: 1e9, bornAt: -10_000 }, calm, 40_000],
    ["the age of its stream", { streamSince: 7 }, { ...calm, streamMaxAgeMs: 10_000 }, 8007],
  ] as const)("need not be looked at before %s", (_what, more, of, until) => {
    const standing = { ...FINE, ...more };
    expect(calmUntil(standing, of)).toBe(until);
    expect(overdue(standing, of, until - 1)).toBeUndefined();
    expect(isStreamDue(standing, of, until - 1)).toBe(false);
  });

  it.each([{ hasBegun: false }, { orphanedAt: 0 }, { inFlight: 1 }, { blockedSince: 0 }, { isQuiet: false }])(
    "is not one of which %o",
    (more) => {
      expect(calmUntil({ ...FINE, ...more }, calm)).toBe(-Infinity);
    },
  );
});

describe("a stream", () => {
  const due = (more: Partial<Standing>, now: number, maxAge = limits.streamMaxAgeMs) =>
    isStreamDue({ ...FINE, ...more }, { ...limits, streamMaxAgeMs: maxAge }, now);

  it("is due from four fifths of its age on, at a quiet moment", () => {
    expect([due({}, 7999), due({}, 8000)]).toEqual([false, true]);
    expect(due({ inFlight: 1 }, 9999)).toBe(false);
    expect(due({ isQuiet: false }, 9999)).toBe(false);
    expect([due({ activeAt: 8500 }, 9000), due({ activeAt: 8500 }, 9001)]).toEqual([false, true]);
  });

  it("is due at its age whatever happens", () => {
    const busy = { inFlight: 3, isQuiet: false, activeAt: 10_000 };
    expect([due(busy, 9999), due(busy, 10_000)]).toEqual([false, true]);
  });

  it("is not due when there is none, or when its age does not matter", () => {
    expect(due({ orphanedAt: 1 }, 1e9)).toBe(false);
    expect(due({}, 1e9, 0)).toBe(false);
  });
});
