/** One bar of the chart. */
export interface Bar {
  label: string;
  kind: "floor" | "gateway" | "peer";
  /** Milliseconds of CPU per call. */
  value: number;
}

export interface Panel {
  title: string;
  bars: readonly Bar[];
}

const WIDTH = 760;
const LABEL_WIDTH = 210;
const VALUE_WIDTH = 90;
const ROW = 26;
const BAR = 16;
const MARGIN = 20;
const HEADER = 78;
const PANEL_HEADER = 34;

// Background and text change together, so it can be read wherever it is shown.
const STYLE = `
  .back { fill: #ffffff } text { fill: #1f2328; font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
  .title { font-size: 16px; font-weight: 600 } .panel { font-weight: 600 } .quiet { fill: #59636e }
  .floor { fill: #8c959f } .gateway { fill: #0969da } .peer { fill: #bc4c00 } .axis { stroke: #8c959f }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 } text { fill: #f0f6fc } .quiet { fill: #9198a1 }
    .floor { fill: #6e7681 } .gateway { fill: #4493f8 } .peer { fill: #db6d28 } .axis { stroke: #6e7681 }
  }`;

/** CPU per call as bars, cheapest first, all panels on one scale. A picture without scripts or outside resources. */
export function drawChart(panels: readonly Panel[]): string {
  const most = Math.max(...panels.flatMap(({ bars }) => bars.map(({ value }) => value)), Number.MIN_VALUE);
  const parts: string[] = [];
  let y = HEADER;
  for (const { title, bars } of panels) {
    const sorted = bars.toSorted((a, b) => a.value - b.value);
    parts.push(`<text class="panel" x="${MARGIN}" y="${y + 18}">${escape(title)}</text>`);
    y += PANEL_HEADER;
    for (const [row, bar] of sorted.entries()) parts.push(drawBar(bar, y + row * ROW, most));
    const left = MARGIN + LABEL_WIDTH;
    parts.push(`<path class="axis" d="M${left - 0.5} ${y - 4}v${sorted.length * ROW}"/>`);
    y += sorted.length * ROW + 8;
  }
  const height = y + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title description" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}">`,
    `<title id="title">CPU per call of gateways and floors</title>`,
    `<desc id="description">${escape(describe(panels))}</desc>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="back" width="${WIDTH}" height="${height}" rx="6"/>`,
    `<text class="title" x="${MARGIN}" y="32">CPU per call, in milliseconds: less is better</text>`,
    drawLegend(),
    ...parts,
    "</svg>\n",
  ].join("\n");
}

function drawBar({ label, kind, value }: Bar, top: number, most: number): string {
  const left = MARGIN + LABEL_WIDTH;
  const width = Math.max(1, ((WIDTH - left - MARGIN - VALUE_WIDTH) * value) / most);
  const base = top + BAR - 3;
  return [
    `<text x="${left - 10}" y="${base}" text-anchor="end">${escape(label)}</text>`,
    `<rect class="${kind}" x="${left}" y="${top}" width="${width.toFixed(1)}" height="${BAR}"/>`,
    `<text x="${(left + width + 8).toFixed(1)}" y="${base}">${milliseconds(value)}</text>`,
  ].join("");
}

function drawLegend(): string {
  const kinds = [
    { kind: "floor", words: "floor: the least that the work costs" },
    { kind: "gateway", words: "this gateway" },
    { kind: "peer", words: "what users would run instead" },
  ];
  const columns = [0, 260, 390];
  return kinds
    .map(({ kind, words }, index) => {
      const x = MARGIN + (columns[index] ?? 0);
      return `<rect class="${kind}" x="${x}" y="48" width="12" height="12"/><text class="quiet" x="${x + 18}" y="58.5">${words}</text>`;
    })
    .join("\n");
}

/** The same in words, for those who do not see it. */
function describe(panels: readonly Panel[]): string {
  return panels
    .map(({ title, bars }) => {
      const sorted = bars.toSorted((a, b) => a.value - b.value);
      return `${title}: ${sorted.map(({ label, value }) => `${label} ${milliseconds(value)}`).join(", ")}.`;
    })
    .join(" ");
}

function milliseconds(value: number): string {
  return value.toFixed(3);
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
