import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { createLineSplitter } from "./line-splitter.mjs";

const FAST_CHILD = fileURLToPath(new URL("./fast-child.mjs", import.meta.url));
const children = new Set();

/** Starts a fast child, which ends with this process. `onLine` gets its lines, `onExit` hears that it ended. */
export function startChild(onLine, onExit) {
  const child = spawn(process.execPath, [FAST_CHILD], { stdio: ["pipe", "pipe", "inherit"] });
  children.add(child);
  child.on("exit", () => {
    children.delete(child);
    onExit();
  });
  // A child that was just killed may still be written to; a floor only has to survive it.
  child.stdin.on("error", () => {});
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", createLineSplitter(onLine));
  return child;
}

process.on("SIGTERM", () => {
  for (const child of children) child.kill();
  process.exit(0);
});
