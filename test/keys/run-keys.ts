import { NO_EVENTS } from "../../src/events.ts";
import { keysCommand } from "../../src/keys/command.ts";

// Makes keys one after the other, in a process of its own: `run-keys.ts FILE CALLER COUNT`.
const [file = "", caller = "", count = ""] = process.argv.slice(2);
const { stdout, stderr } = process;
const parts = { stdout, stderr, events: NO_EVENTS, env: {}, now: Date.now, scopeProblem: () => undefined };
for (let made = 0; made < Number(count); made += 1) {
  process.exitCode ||= await keysCommand(["create", "--file", file, "--caller", caller, "--json"], parts);
}
