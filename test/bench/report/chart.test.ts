import { expect, test } from "vitest";
import { drawChart } from "./chart.ts";
import { panelsOf } from "./panels.ts";
import { run } from "./runs.ts";

const widths = (svg: string) =>
  [...svg.matchAll(/<rect class="(\w+)" x="230" y="\d+" width="([\d.]+)"/g)].map(([, kind, width]) => [
    kind,
    Number(width),
  ]);

test("draws bars as long as their values, cheapest first, on one scale", () => {
  const svg = drawChart([
    {
      title: "A",
      bars: [
        { label: "peer", kind: "peer", value: 0.4 },
        { label: "floor", kind: "floor", value: 0.1 },
      ],
    },
    { title: "B", bars: [{ label: "ours", kind: "gateway", value: 0.2 }] },
  ]);
  expect(widths(svg)).toEqual([
    ["floor", 105],
    ["peer", 420],
    ["gateway", 210],
  ]);
  expect(svg).toContain('<desc id="description">A: floor 0.100, peer 0.400. B: ours 0.200.</desc>');
});

test("is well formed whatever the labels are, and holds no script", () => {
  const svg = drawChart([{ title: "a & b", bars: [{ label: "<script>", kind: "peer", value: 1 }] }]);
  expect(svg).toContain("a &amp; b");
  expect(svg).not.toContain("<script");
  expect(svg).not.toMatch(/NaN|undefined|Infinity/);
});

test("can be drawn without any figures", () => {
  expect(drawChart([])).not.toMatch(/NaN|undefined|Infinity/);
});

test("shows each target once, from the first section that has it", () => {
  const panels = panelsOf([
    { id: "sse-peers-8x4", runs: [run("gateway", 1, 0.9), run("mcp-hub-sse", 1, 0.5)] },
    { id: "sse-8x4", runs: [run("gateway", 1, 0.2), run("gateway", 2, 0.4), run("sse-bridge", 1, 0.1)] },
    { id: "elsewhere", runs: [run("sdk-sse", 1, 1)] },
  ]);
  expect(
    panels.map(({ bars }) => bars.map(({ label, kind, value }) => [label, kind, value.toFixed(1)])),
  ).toEqual([
    [
      ["gateway", "gateway", "0.3"],
      ["sse-bridge", "floor", "0.1"],
      ["mcp-hub-sse", "peer", "0.5"],
    ],
  ]);
});
