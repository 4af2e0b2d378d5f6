import { median } from "../figures.ts";
import type { CallRun } from "../modes/call.ts";
import { byTarget } from "../ratios.ts";
import { FLOORS } from "../targets/floors.ts";
import { GATEWAYS } from "../targets/gateways.ts";
import type { Bar, Panel } from "./chart.ts";
import type { SectionFigures } from "./section.ts";

const PANELS = [
  { title: "HTTP+SSE, 8 sessions x 4 calls", sections: ["sse-8x4", "sse-shared-8x4", "sse-peers-8x4"] },
  { title: "Streamable HTTP, 8 sessions x 4 calls", sections: ["streamable-8x4", "streamable-peers-8x4"] },
];

/** What the chart shows of the sections: each target once, from the first section that has it. */
export function panelsOf(figures: readonly Pick<SectionFigures, "id" | "runs">[]): Panel[] {
  return PANELS.map(({ title, sections }) => {
    const bars = new Map<string, Bar>();
    for (const id of sections) {
      const runs = (figures.find((one) => one.id === id)?.runs ?? []) as CallRun[];
      for (const { name, own } of byTarget(runs)) {
        const value = median(own.map((run) => run.cpuMsPerCall));
        if (!bars.has(name) && Number.isFinite(value))
          bars.set(name, { label: name, kind: kindOf(name), value });
      }
    }
    return { title, bars: [...bars.values()] };
  }).filter(({ bars }) => bars.length > 0);
}

function kindOf(target: string): Bar["kind"] {
  if (FLOORS.some(({ name }) => name === target)) return "floor";
  return GATEWAYS.some(({ name }) => name === target) ? "gateway" : "peer";
}
