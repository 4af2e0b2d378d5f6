// Loaded before a server: from the first SIGUSR2 on it ticks every millisecond, at the second it writes for how long the
// event loop was blocked between two ticks. A late tick alone says little where children share the core, so of each gap
// only what the thread itself ran counts.
import { openSync, readSync, renameSync, writeFileSync } from "node:fs";
import process from "node:process";

const TICK_MS = 1;
const file = process.env.BENCH_BLOCKED;
const text = Buffer.alloc(64);
const gaps = [];
const blocked = [];
let schedstat;
let timer;
let lastTick = 0;
let lastCpu = 0;

/** CPU of this thread in ms. Asking for the process's makes the kernel count up to now; by itself it counts every 4 ms. */
function readThreadCpu() {
  process.cpuUsage();
  const length = readSync(schedstat, text, 0, text.length, 0);
  return Number.parseInt(text.latin1Slice(0, length), 10) / 1e6;
}

function tick() {
  const now = performance.now();
  const cpu = readThreadCpu();
  gaps.push(now - lastTick);
  blocked.push(Math.min(now - lastTick, cpu - lastCpu));
  lastTick = now;
  lastCpu = cpu;
}

function spread(values) {
  const sorted = Float64Array.from(values).sort();
  return { maxMs: sorted.at(-1) ?? 0, p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0 };
}

process.on("SIGUSR2", () => {
  if (timer === undefined) {
    schedstat = openSync("/proc/thread-self/schedstat", "r");
    lastTick = performance.now();
    lastCpu = readThreadCpu();
    timer = setInterval(tick, TICK_MS);
    return;
  }
  clearInterval(timer);
  // In one step, so that who waits for the file never reads half of it.
  writeFileSync(
    `${file}.part`,
    JSON.stringify({ ticks: gaps.length, gap: spread(gaps), blocked: spread(blocked) }),
  );
  renameSync(`${file}.part`, file);
});
