import { type Verdict, verdictRow } from "./judge.ts";
import type { Section, SectionFigures } from "./section.ts";
import type { Taken } from "./taken.ts";

export interface Report {
  taken: Taken;
  minutes: number;
  verdicts: readonly Verdict[];
  sections: readonly { section: Section; figures: SectionFigures }[];
}

/** The page as Markdown: how it was measured, the targets, every table, the chart. */
export function writePage(report: Report): string {
  return [
    "# Performance",
    "<!-- Written by `npm run bench -- report`. Do not edit. -->",
    ...opening(report),
    "## Targets",
    `${report.verdicts.filter(({ isMet }) => isMet).length} of ${report.verdicts.length} bounds are kept. Each is judged by the figures below: the median of its rounds, where ratios are formed within a\nround. Of several peers the one that is nearest to the bound counts.`,
    targetsTable(report.verdicts),
    ...report.sections.flatMap(({ section, figures }) => sectionParts(section, figures)),
    "## Chart",
    "Where a target has several tables, the chart has its CPU per call from the first.",
    "![CPU per call of the floors, of this gateway and of what users would run instead](performance.svg)",
  ]
    .map((part) => `${part.trimEnd()}\n`)
    .join("\n");
}

function opening({ taken, minutes }: Report): string[] {
  const { cores, cpu, memoryGb, kernel, node, version, commit, date } = taken;
  return [
    "What a call, an open session and a connect cost here, beside the thinnest servers that do the same work (the floors) and beside\nwhat users would run instead (the peers).",
    [
      `- Gateway: ${version}, commit ${commit}`,
      `- Date: ${date}`,
      `- Machine: ${cores} cores of ${cpu}, ${memoryGb} GB of memory, ${kernel}`,
      `- Node: ${node}`,
      ...taken.peers.map((peer) => `- ${peer.peer}: ${describePeer(peer)}`),
    ].join("\n"),
    `All of it is from one run of ${Math.round(minutes)} minutes. To run it again: \`npm run bench -- report\`. Peers are installed on demand. For a quick comparison with these\nfigures, in under three minutes: \`npm run bench -- short\`.`,
    "## How to read it",
    [
      `- **CPU ms per call** is CPU seconds per 1,000 calls: user and system time of the server with all of its children, ${sourceWords(taken)},`,
      "  before and after the counted calls, divided by the answers. It holds on a busy machine.",
      "- **Ratios carry over to other machines, rates and times do not.** A ratio is formed within a round; the median and the spread",
      "  are of these.",
      "- Every run has a fresh server. The targets of a table take turns, odd rounds forwards and even ones backwards.",
      `- ${taken.isPinned ? "The server with its children has one core and the load generator another." : "Server and load generator were not pinned to cores of their own, so rates are lower than they could be."}`,
      "- Every answer is checked to be the answer to its own call. Calls/s are right answers only.",
      "- Where the load generator used more than 0.9 of its core, rate and latency are its own and are not told.",
      "- Everything is over loopback: no network, no TLS, no proxy.",
    ].join("\n"),
  ];
}

function sourceWords({ cpuSource }: Taken): string {
  return cpuSource.startsWith("cgroup")
    ? `read from a control group of its own (${cpuSource})`
    : "read from `/proc` in steps of 10 ms";
}

function describePeer({ version, dependencies, note }: Taken["peers"][number]): string {
  const brought = Object.entries(dependencies).map(([name, versions]) => `${name} ${versions.join(" and ")}`);
  const withThem = brought.length === 0 ? "" : ` with ${brought.join(", ")}`;
  return `${version}${withThem}${note === undefined ? "" : `; ${note}`}`.replaceAll("|", "/");
}

export function targetsTable(verdicts: readonly Verdict[]): string {
  const head = ["target", "what", "bound", "measured", "its rounds", "verdict"];
  const rows = [head, head.map(() => "---"), ...verdicts.map(verdictRow)];
  return rows.map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}

function sectionParts(
  { title, text }: Section,
  { options, failures, table: figures, runs }: SectionFigures,
): string[] {
  const rounds = options.rounds === 1 ? "1 round" : `${options.rounds} rounds`;
  return [
    `## ${title}`,
    `${text} ${rounds}.`,
    runs.length === 0 ? "Nothing was measured." : figures,
    ...(failures.length === 0 ? [] : [failures.map((failure) => `- ${failure}`).join("\n")]),
  ];
}
