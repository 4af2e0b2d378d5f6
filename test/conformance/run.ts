import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { compare, isLost, scoreChecks, scoreOf } from "./score.ts";
import { type Outcome, runSuite, type Suite, SUITES } from "./suites.ts";
import { renderTable, renderText, type Row, writeTable } from "./table.ts";
import { BACKENDS, DIRECT, type Target } from "./targets.ts";

// The official conformance suite: against our fixture directly, then against the gateway before it. The gateway must not
// lose a check that the server itself passes.

const names = (all: readonly { name: string }[]) => all.map(({ name }) => name).join(", ");

const HELP = `npm run test:conformance -- [options]

  --backend NAME   only this one, and the direct run: ${names([DIRECT, ...BACKENDS])}
  --suite NAME     only this one: ${names(SUITES)}
  --json           the figures as JSON
  --write          writes the table into docs/protocol.md
`;

const { values } = parseArgs({
  options: {
    backend: { type: "string", multiple: true },
    suite: { type: "string", multiple: true },
    json: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function pick<T extends { name: string }>(all: readonly T[], wanted: string[] | undefined): T[] {
  for (const name of wanted ?? []) {
    if (!all.some((one) => one.name === name)) throw new Error(`there is no ${name}, only ${names(all)}`);
  }
  return all.filter(({ name }) => wanted === undefined || wanted.includes(name));
}

async function runTarget(target: Target, suites: Suite[]): Promise<Map<Suite, Outcome>> {
  const open = await target.open();
  try {
    const outcomes = new Map<Suite, Outcome>();
    for (const suite of suites) outcomes.set(suite, await runSuite(suite, target.name, open.url));
    return outcomes;
  } finally {
    await open.close();
  }
}

async function main(): Promise<void> {
  const suites = pick(SUITES, values.suite);
  const backends = pick([DIRECT, ...BACKENDS], values.backend).filter((target) => target !== DIRECT);
  const direct = await runTarget(DIRECT, suites);
  const rows: Row[] = [];
  const add = ({ name: target, words }: Target, outcomes: Map<Suite, Outcome>) => {
    for (const [suite, outcome] of outcomes) {
      const own = direct.get(suite);
      const row = {
        target,
        words,
        suite: suite.name,
        version: suite.version,
        score: scoreOf(suite, outcome),
        checks: scoreChecks(outcome),
        differences: own === undefined ? [] : compare(own, outcome),
      };
      rows.push(row);
      if (!values.json) process.stdout.write(`${renderText([row])}\n`);
    }
  };
  add(DIRECT, direct);
  for (const [suite, outcome] of direct) {
    const { passed } = scoreOf(suite, outcome);
    if (passed < suite.direct)
      throw new Error(`the fixture itself has ${passed} of ${suite.direct} in ${suite.name}`);
  }
  for (const backend of backends) add(backend, await runTarget(backend, suites));
  if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else process.stdout.write(`\n${renderTable(rows)}\n`);
  if (values.write) writeTable(join(import.meta.dirname, "../../docs/protocol.md"), renderTable(rows));
  if (rows.some(({ differences }) => differences.some(isLost))) process.exitCode = 1;
}

if (values.help) process.stdout.write(HELP);
else await main();
