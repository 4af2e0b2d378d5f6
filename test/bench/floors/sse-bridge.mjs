// The thin bridge with a child per session: the nearest floor to a gateway's stdio link.
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { createLineSplitter } from "./line-splitter.mjs";
import { serveSse } from "./sse-front.mjs";

const FAST_CHILD = fileURLToPath(new URL("./fast-child.mjs", import.meta.url));
const children = new Set();

serveSse((stream) => {
  const child = spawn(process.execPath, [FAST_CHILD], { stdio: ["pipe", "pipe", "inherit"] });
  children.add(child);
  child.on("exit", () => {
    children.delete(child);
    stream.end();
  });
  // A child that was just killed may still be written to; a floor only has to survive it.
  child.stdin.on("error", () => {});
  child.stdout.setEncoding("utf8");
  child.stdout.on(
    "data",
    createLineSplitter((line) => stream.write(`event: message\ndata: ${line}\n\n`)),
  );
  return {
    take: (message) => child.stdin.write(`${JSON.stringify(message)}\n`),
    close: () => child.kill(),
  };
});

process.on("SIGTERM", () => {
  for (const child of children) child.kill();
  process.exit(0);
});
