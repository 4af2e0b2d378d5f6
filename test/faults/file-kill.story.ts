import { expect, test } from "vitest";
import { killWriters } from "../session-store/file-kills.ts";
import { openFigures, sized } from "./figures.ts";

const note = openFigures("8 The file store");

/** Compacting nearly all the time, and now and then. */
const OFTEN = { factor: 1, minBytes: 20_000 };
const SELDOM = { factor: 2, minBytes: 1_000_000 };

test.each([
  ["off", sized(3, 100), "compacting all the time", OFTEN],
  ["off", sized(3, 100), "compacting now and then", SELDOM],
  ["second", sized(3, 150), "compacting now and then", SELDOM],
  ["always", sized(3, 150), "compacting all the time", OFTEN],
] as const)(
  "with SESSION_FILE_SYNC=%s, %i kill -9 lose nothing that was acknowledged, %s",
  async (sync, kills, how, compaction) => {
    const figures = await killWriters(kills, { sync, compaction });
    const { acknowledged, inCompaction, inOpening, torn, broken } = figures;
    note(
      `kill -9 at ${kills} random moments of writing, SESSION_FILE_SYNC=${sync}, ${how}`,
      "nothing acknowledged is lost or back again, nothing is damaged",
      `${broken.length} of ${acknowledged} changes lost, back or damaged; ${inCompaction} kills in a compaction, ${inOpening} while opening, ${torn} left a torn write`,
      broken.length === 0,
    );
    expect(broken).toEqual([]);
  },
  600_000,
);
