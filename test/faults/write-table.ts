import { execFileSync } from "node:child_process";
import { cpus } from "node:os";
import { join } from "node:path";
import { writeFileSync } from "node:fs";
import { readFigures } from "./figures.ts";
import { renderReliability } from "./table.ts";

/** Writes `docs/reliability.md` from the figures of the last run: `npm run test:faults` calls it at its end. */
const figures = readFigures();
const forms = [...new Set(figures.map(({ form }) => form))].join(" and ");
const redis = /v=(\S+)/.exec(execFileSync("redis-server", ["--version"], { encoding: "utf8" }))?.[1] ?? "?";
const [month, broken] = [new Date().toISOString().slice(0, 7), figures.filter(({ holds }) => !holds).length];

const text = `# Reliability

What is promised when streams are cut, instances are replaced or killed, and stores break, and what a run of the failure
suite measured. This page is written by the run:

\`\`\`sh
npm run test:faults
\`\`\`

The suite plays with real parts: gateway processes, Redis, the real Upstash client before a stand-in of its REST API, the
official SDK clients of both lines, an MCP server that keeps a ledger of what it carried out, and a front proxy that copies a
platform's edge: an instance by chance for each request, and streams cut when it pleases. A history checker compares what
every client sent and got with the ledger.

This run: ${figures.length} figures in the ${forms} form, ${broken} broken. ${month}, Node ${process.versions.node}, Redis ${redis}, ${cpus().length} cores shared by
everything. Times are of that machine; counts are what matters.

${renderReliability(figures)}## What is not promised

- A notification that a proxy had taken from the gateway and not yet given to the client when it cut the stream is lost.
  Clients of the official SDK do not say what they got last, and a notification must not come twice. A client that sends
  \`Last-Event-ID\` loses none.
- An answer may come twice on the wire after a cut. Whoever has it knows it by its id; the SDK clients drop it.
- A question of the server to the client (sampling, elicitation) that was sent within a second before a cut, and that has no
  answer three seconds after the client is back, is asked again. Somebody who is still thinking may be asked twice.
- Without \`SESSION_DURABILITY=store\`, calls that a killed instance had in flight end at the client's own time limit.
- Sessions in memory end with their process.
`;
writeFileSync(join(import.meta.dirname, "../../docs/reliability.md"), text);
process.exitCode = broken === 0 ? 0 : 1;
