import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { askedBy } from "./expressions.ts";
import { playedMetrics } from "./played.ts";
import { Scraped } from "./scraped.ts";

const DOCS = join(import.meta.dirname, "../../docs");
const RULES = join(DOCS, "alert-rules.yml");
/** What Prometheus itself adds to what it scrapes. */
const PROMETHEUS = { metrics: ["up"], labels: ["job", "instance"] };

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: { uid: string };
  targets?: { expr: string; datasource: { uid: string } }[];
}

const dashboard = JSON.parse(readFileSync(join(DOCS, "grafana-dashboard.json"), "utf8")) as {
  panels: Panel[];
  templating: { list: { name: string; type: string; query: string | { query: string } }[] };
};
const rules = readFileSync(RULES, "utf8");

/** The expressions of the rules, on one line or folded over several. */
function ruleExpressions(): string[] {
  return [...rules.matchAll(/^ +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)/gm)].map(
    (match) => match[1] ?? match[2] ?? "",
  );
}

const panelExpressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
const scrape = (await playedMetrics().scrape()).body;
const scraped = new Scraped(scrape).names();

/** What an expression names that no scrape has. */
function missing(expression: string): string[] {
  const { metrics, labels } = askedBy(expression);
  const unknown = [...metrics].filter((name) => !scraped.has(name) && !PROMETHEUS.metrics.includes(name));
  const theirs = new Set([
    ...PROMETHEUS.labels,
    ...[...metrics].flatMap((name) => [...(scraped.get(name) ?? [])]),
  ]);
  return [...unknown, ...[...labels].filter((label) => !theirs.has(label)).map((label) => `label ${label}`)];
}

describe("the reader of expressions", () => {
  it("tells metrics and labels from all else", () => {
    const { metrics, labels } = askedBy(
      'topk(10, histogram_quantile(0.95, sum by (le, a) (rate(x_bucket{b=~"c, d{}",e!=""}[5m])))) > 5 and on (f) y:z',
    );
    expect([[...metrics], [...labels]]).toEqual([
      ["x_bucket", "y:z"],
      ["le", "a", "f", "b", "e"],
    ]);
  });
});

describe("docs/alert-rules.yml", () => {
  it("has an expression for each alert", () => {
    expect(ruleExpressions().length).toBe([...rules.matchAll(/- alert: /g)].length);
    expect(ruleExpressions().length).toBeGreaterThan(15);
  });

  it.each(ruleExpressions())("asks for what a scrape has: %s", (expression) => {
    expect(missing(expression)).toEqual([]);
  });
});

describe("docs/grafana-dashboard.json", () => {
  it.each(panelExpressions)("asks for what a scrape has: %s", (expression) => {
    expect(missing(expression)).toEqual([]);
  });

  it("shows every metric of the gateway's own", () => {
    const shown = new Set(panelExpressions.flatMap((expression) => [...askedBy(expression).metrics]));
    const family = (name: string) => name.replace(/_(?:bucket|sum|count)$/, "");
    const families = new Set([...shown].map(family));
    const own = [...scraped.keys()].filter((name) => name.startsWith("mcp_")).map(family);
    expect(own.filter((name) => !families.has(name))).toEqual([]);
  });

  it("can be imported: one data source to choose, panels of different ids that do not overlap", () => {
    const { panels, templating } = dashboard;
    expect(templating.list[0]).toMatchObject({ name: "datasource", type: "datasource", query: "prometheus" });
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const { type, title, datasource, targets = [] } of panels.filter((panel) => panel.type !== "row")) {
      expect(["timeseries", "stat"], title).toContain(type);
      for (const { uid } of [datasource, ...targets.map((target) => target.datasource)] as { uid: string }[])
        expect(uid, title).toBe("${datasource}");
    }
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...panels.map(({ gridPos: { x, w } }) => x + w))).toBeLessThanOrEqual(24);
  });

  it("asks for variables that it has", () => {
    const known = new Set([...dashboard.templating.list.map(({ name }) => name), "__rate_interval"]);
    const used = panelExpressions.flatMap((text) =>
      [...text.matchAll(/\$(\w+)/g)].map((match) => match[1] as string),
    );
    expect(used.filter((name) => !known.has(name))).toEqual([]);
    for (const { query } of dashboard.templating.list.slice(1)) {
      const [, metric = "", label = ""] =
        /^label_values\((\w+), (\w+)\)$/.exec((query as { query: string }).query) ?? [];
      expect([...(scraped.get(metric) ?? []), "instance"]).toContain(label);
    }
  });
});

const hasPromtool = spawnSync("promtool", ["--version"]).status === 0;

describe.skipIf(!hasPromtool)("promtool, which must be on the PATH for this", () => {
  it("accepts the rules", () => {
    expect(
      execFileSync("promtool", ["check", "rules", "--lint=all", "--lint-fatal", RULES], { encoding: "utf8" }),
    ).toContain("SUCCESS");
  });

  it("sees the rules fire when they should, and not before", () => {
    const played = join(import.meta.dirname, "alert-rules.test.yml");
    expect(execFileSync("promtool", ["test", "rules", played], { encoding: "utf8" })).toContain("SUCCESS");
  });

  it("finds nothing to say about the gateway's own metrics", () => {
    const { stdout, stderr, status } = spawnSync("promtool", ["check", "metrics"], {
      input: scrape,
      encoding: "utf8",
    });
    // Some of prom-client's names for what Node says are not as promtool would have them.
    const ours = `${stdout}${stderr}`
      .split("\n")
      .filter((line) => line !== "" && !/^(?:nodejs|process)_/.test(line));
    expect([ours, [0, 3].includes(status as number)]).toEqual([[], true]);
  });
});
