import { pathToFileURL } from "node:url";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { GENERAL } from "../options.ts";
import { readFigures, writeFigures } from "./figures-file.ts";
import { GOALS } from "./goals.ts";
import { judge } from "./judge.ts";
import { type Report, writePage } from "./page.ts";
import { plainWords } from "./plain-words.ts";
import { run } from "./runs.ts";
import type { Section, SectionFigures } from "./section.ts";
import type { Taken } from "./taken.ts";

const taken: Taken = {
  date: "2026-01-02",
  version: "1.2.3",
  commit: "abc",
  node: "v24.0.0",
  cores: 2,
  cpu: "Some CPU",
  memoryGb: 8,
  kernel: "Linux 6",
  isPinned: true,
  cpuSource: "cgroup v2",
  peers: [{ peer: "mcp-proxy", version: "6.7.19", dependencies: { zod: ["4.6.7"] }, note: "defaults" }],
};
const section: Section = {
  id: "sse-64",
  title: "Sixty-four",
  mode: "call",
  options: {},
  text: "How to read it.",
  estimateSeconds: 1,
};
const figures: SectionFigures = {
  id: "sse-64",
  options: { ...GENERAL, rounds: 1 },
  runs: [run("gateway", 1, 1.5), run("sse-bridge", 1, 1)],
  failures: [],
  table: "| the table |\n",
};

function page(one: SectionFigures): string {
  const report: Report = {
    taken,
    minutes: 30,
    verdicts: GOALS.map((goal) => judge(goal, [one])),
    sections: [{ section, figures: one }],
  };
  return writePage(report);
}

test("tells of what, on what and when, and judges the targets by these figures", () => {
  const text = page(figures);
  expect(text).toContain("2 cores of Some CPU, 8 GB of memory, Linux 6");
  expect(text).toContain("mcp-proxy: 6.7.19 with zod 4.6.7; defaults");
  expect(text).toMatch(
    /\| 1 \| SSE, 64 sessions, a child each.* \| at most 1.25 x \| 1.5 x \| 1.5 \| \*\*missed\*\* \|/,
  );
  expect(text).toContain("## Sixty-four\n\nHow to read it. 1 round.\n\n| the table |\n");
});

test("tells a section that failed instead of hiding it", () => {
  const text = page({ ...figures, runs: [], table: "", failures: ["gateway failed in round 1: no answer"] });
  expect(text).toContain(
    "## Sixty-four\n\nHow to read it. 1 round.\n\nNothing was measured.\n\n- gateway failed in",
  );
});

test("keeps names in capitals and the machine's paths out of the words of a fault", () => {
  const fault = new Error(`Cannot find ${import.meta.filename}, ERR_MODULE_NOT_FOUND\n at secret`);
  expect(plainWords(fault)).toBe("Cannot find page.test.ts, ERR MODULE NOT FOUND");
  expect(plainWords("GET /health was answered 503")).toBe("GET /health was answered 503");
});

test("writes figures that compare as the measured ones do, without the machine's paths", () => {
  const folder = mkdtempSync(join(tmpdir(), "mcp-bench-"));
  try {
    const file = pathToFileURL(join(folder, "figures.json"));
    expect(readFigures(file)).toBeUndefined();
    const left = {
      ...run("gateway", 1, 1.23456789),
      leftovers: ["12 /usr/bin/node /home/somebody/child.mjs"],
    };
    writeFigures(file, { taken, sections: [{ ...figures, runs: [left] }] });
    expect(readFigures(file)?.sections[0]?.runs[0]).toMatchObject({
      cpuMsPerCall: 1.235,
      leftovers: ["12 node child.mjs"],
    });
    const text = readFileSync(file, "utf8");
    expect(text).not.toContain("somebody");
    expect(text).not.toContain("the table");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
