import type { Check, Outcome, Suite } from "./suites.ts";

export interface Score {
  passed: number;
  total: number;
}

/** Counted as the suite's own summary counts: what it only warns of, or only tells, is in neither number. */
export function scoreChecks({ checks }: Outcome): Score {
  const passed = checks.filter(({ status }) => status === "SUCCESS").length;
  return { passed, total: passed + checks.filter(({ status }) => status === "FAILURE").length };
}

/** Required scenarios: passed when nothing in them failed. One that did not run has not passed. */
export function scoreScenarios({ checks, required }: Outcome): Score {
  const names = required ?? [...new Set(checks.map(({ scenario }) => scenario))];
  const passed = names.filter((name) => {
    const own = checks.filter(({ scenario }) => scenario === name);
    return own.length > 0 && own.every(({ status }) => status !== "FAILURE");
  });
  return { passed: passed.length, total: names.length };
}

/** The number of the suite that is published. */
export function scoreOf(suite: Suite, outcome: Outcome): Score {
  return suite.counts === "checks" ? scoreChecks(outcome) : scoreScenarios(outcome);
}

/** A check that passed directly and not through the gateway. */
export interface Difference {
  scenario: string;
  id: string;
  name: string;
  /** What it is through the gateway: `none` when it was not made, `INFO` when there was nothing to look at. */
  status: Check["status"] | "none";
  message: string;
}

/** What passed directly and does not pass through the gateway. */
export function compare(direct: Outcome, through: Outcome): Difference[] {
  const seen = byKey(through.checks);
  // A scenario that broke off says why in a check of another name, and makes none of those that would have come.
  const reasonOf = (scenario: string) =>
    through.checks.find((check) => check.scenario === scenario && check.status === "FAILURE")?.errorMessage;
  return [...byKey(direct.checks)].flatMap(([key, { scenario, id, name, status }]) => {
    const found = seen.get(key);
    if (status !== "SUCCESS" || found?.status === "SUCCESS") return [];
    const message = found?.errorMessage ?? reasonOf(scenario) ?? "";
    return [{ scenario, id, name, status: found?.status ?? "none", message }];
  });
}

/** Whether a difference is a fault, and not the want of something to look at. */
export function isLost({ status }: Difference): boolean {
  return status !== "INFO" && status !== "SKIPPED";
}

/** A scenario may make one check several times. */
function byKey(checks: readonly Check[]): Map<string, Check> {
  const keyed = new Map<string, Check>();
  for (const check of checks.toSorted((a, b) =>
    a.status === b.status ? 0 : a.status === "SUCCESS" ? -1 : 1,
  )) {
    const key = [check.scenario, check.id, check.name].join("\n");
    let nth = 1;
    while (keyed.has(`${key}\n${nth}`)) nth += 1;
    keyed.set(`${key}\n${nth}`, check);
  }
  return keyed;
}
