// Loaded before a server: the first SIGUSR2 starts the sampling profiler, the second writes what it saw. --cpu-prof would
// sample the start and the warm-up too, which is not what a server does all day.
import { writeFileSync } from "node:fs";
import { Session } from "node:inspector";
import process from "node:process";

const file = process.env.BENCH_PROFILE;
const session = new Session();
let isProfiling = false;

process.on("SIGUSR2", () => {
  if (isProfiling) {
    session.post("Profiler.stop", (error, result) => {
      if (error === null) writeFileSync(file, JSON.stringify(result.profile));
    });
    return;
  }
  isProfiling = true;
  session.connect();
  session.post("Profiler.enable");
  session.post("Profiler.setSamplingInterval", { interval: 500 });
  session.post("Profiler.start");
});
