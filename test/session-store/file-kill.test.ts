import { expect, test } from "vitest";

import { killWriters } from "./file-kills.ts";

test("loses nothing that was acknowledged to kill -9, also in the midst of a compaction", async () => {
  const figures = await killWriters(10, { sync: "off", compaction: { factor: 1, minBytes: 20_000 } });
  expect(figures.broken).toEqual([]);
  expect(figures.acknowledged).toBeGreaterThan(100);
}, 60_000);
