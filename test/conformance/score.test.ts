import { describe, expect, it } from "vitest";
import { compare, isLost, scoreChecks, scoreScenarios } from "./score.ts";
import type { Check, Outcome, Status } from "./suites.ts";
import { renderTable, type Row } from "./table.ts";

const check = (scenario: string, id: string, status: Status): Check => ({ scenario, id, name: id, status });
const outcome = (...checks: Check[]): Outcome => ({ checks, required: undefined });

describe("the score of a run", () => {
  it("counts what passed and what failed, and not what was only told", () => {
    const seen = outcome(
      check("ping", "ping", "SUCCESS"),
      check("ping", "wire", "FAILURE"),
      check("polling", "retry", "WARNING"),
      check("polling", "request", "INFO"),
    );
    expect(scoreChecks(seen)).toEqual({ passed: 1, total: 2 });
  });

  it("does not count a required scenario that did not run as passed", () => {
    const seen = { checks: [check("ping", "ping", "SUCCESS")], required: ["ping", "tools-list"] };
    expect(scoreScenarios(seen)).toEqual({ passed: 1, total: 2 });
  });
});

describe("the comparison with the direct run", () => {
  const direct = outcome(
    check("ping", "ping", "SUCCESS"),
    check("enums", "field", "SUCCESS"),
    check("enums", "field", "SUCCESS"),
    check("tasks", "create", "FAILURE"),
  );

  it("finds nothing where all is the same, and does not ask for more than the server has", () => {
    expect(compare(direct, direct)).toEqual([]);
  });

  it("finds a check that failed, one that was not made, and one of several of the same name", () => {
    const through = outcome(check("enums", "field", "FAILURE"), check("enums", "field", "SUCCESS"));
    const found = compare(direct, through);
    expect(found.map(({ id, status }) => [id, status])).toEqual([
      ["ping", "none"],
      ["field", "FAILURE"],
    ]);
    expect(found.every(isLost)).toBe(true);
  });

  it("finds a check that only warns now", () => {
    const [found] = compare(outcome(check("a", "a", "SUCCESS")), outcome(check("a", "a", "WARNING")));
    expect(found !== undefined && isLost(found)).toBe(true);
  });

  it("tells a check that found nothing to look at from one that is lost", () => {
    const [found] = compare(outcome(check("a", "a", "SUCCESS")), outcome(check("a", "a", "INFO")));
    expect(found !== undefined && isLost(found)).toBe(false);
  });
});

describe("the table", () => {
  const row = (more: Partial<Row>): Row => ({
    target: "stdio",
    words: "stdio",
    suite: "all",
    version: "0.1.16",
    score: { passed: 43, total: 44 },
    checks: { passed: 43, total: 44 },
    differences: [{ scenario: "ping", id: "ping", name: "ping", status: "FAILURE", message: "no answer" }],
    ...more,
  });

  it("says what is lost", () => {
    expect(renderTable([row({})])).toContain("| stdio | 43/44 [1] |");
    expect(renderTable([row({})])).toContain("1. `ping` (`ping`): **lost**.");
  });

  it("says where there was nothing to look at, and gives one note to all who share it", () => {
    const differences = row({}).differences.map((one) => ({ ...one, status: "INFO" as const }));
    const table = renderTable([row({ differences }), row({ target: "sse", words: "SSE", differences })]);
    expect(table).toContain("| SSE | 43/44 [1] |");
    expect(table).toMatch(/\n1\. `ping` \(`ping`\): nothing to look at.+$/);
  });
});
