import { execFile } from "node:child_process";
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { binOf, CACHE, findNode, installPeers } from "./peers.ts";

export type Status = "SUCCESS" | "FAILURE" | "WARNING" | "INFO" | "SKIPPED";

/** One thing that the suite looked at, as it writes it. */
export interface Check {
  scenario: string;
  id: string;
  name: string;
  status: Status;
  errorMessage?: string;
}

/** What one run of a suite saw. */
export interface Outcome {
  checks: Check[];
  /** The scenarios that the revision requires; undefined: all. */
  required: string[] | undefined;
}

export interface Suite {
  name: string;
  version: string;
  /** What its score is made of. */
  counts: "checks" | "scenarios";
  /** The score of the fixture itself. Less means that the fixture is broken, and that a comparison with it says nothing. */
  direct: number;
  revision?: string;
}

const LAST = "0.1.16";
const NEXT = "0.2.0-alpha.12";

export const SUITES: readonly Suite[] = [
  { name: "all", version: LAST, counts: "checks", direct: 44 },
  { name: "2025-11-25", version: NEXT, counts: "checks", direct: 84, revision: "2025-11-25" },
  { name: "2026-07-28", version: NEXT, counts: "scenarios", direct: 37, revision: "2026-07-28" },
];

const RUN_MS = 300_000;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** Runs a suite against a URL. Its results stay in the cache, under the name of what was tested. */
export async function runSuite(suite: Suite, target: string, url: string): Promise<Outcome> {
  const { version, revision } = suite;
  const modules = await installPeers(`suite-${version}`, { "@modelcontextprotocol/conformance": version });
  const results = join(CACHE, "results", target, suite.name);
  rmSync(results, { recursive: true, force: true });
  const which = revision === undefined ? ["--suite", "all"] : ["--requirements", revision];
  const program = binOf(modules, "@modelcontextprotocol/conformance", "conformance");
  await run(await findNode(), [program, "server", "--url", url, ...which, "-o", results]);
  const file = revision === undefined ? undefined : join(program, `../../requirements/${revision}.yaml`);
  return {
    checks: readChecks(results),
    required: file === undefined ? undefined : requiredOf(readFileSync(file, "utf8")),
  };
}

/** Its exit code says only that something failed, which the results say better. */
function run(node: string, args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(node, args, { timeout: RUN_MS, maxBuffer: MAX_OUTPUT_BYTES }, (error, _stdout, stderr) => {
      if (error?.killed === true) reject(new Error(`the suite took longer than ${RUN_MS} ms`));
      else if (error !== null && typeof error.code !== "number") reject(error);
      else if (stderr.includes("SyntaxError")) reject(new Error(stderr));
      else resolve();
    });
  });
}

function readChecks(results: string): Check[] {
  const checks = readdirSync(results).flatMap((folder) => {
    const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$/.exec(folder)?.[1];
    if (scenario === undefined) return [];
    const found = JSON.parse(readFileSync(join(results, folder, "checks.json"), "utf8")) as Check[];
    return found.map(({ id, name, status, errorMessage }) => ({
      scenario,
      id,
      name,
      status,
      ...(errorMessage === undefined ? {} : { errorMessage }),
    }));
  });
  if (checks.length === 0) throw new Error(`the suite wrote no results to ${results}`);
  return checks;
}

/** The list `server:` of a file of requirements. */
function requiredOf(yaml: string): string[] {
  const list = /^server:\n((?: +- .+\n)+)/m.exec(yaml)?.[1];
  if (list === undefined) throw new Error("the requirements have no list of a server");
  return [...list.matchAll(/- (\S+)/g)].map(([, name]) => name ?? "");
}
