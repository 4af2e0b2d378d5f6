// The fast stdio child: an echo server without the SDK, so that a bridge's cost is not hidden behind its child's.
import process from "node:process";
import { answerTo } from "./echo-answers.mjs";
import { createLineSplitter } from "./line-splitter.mjs";

let answers = "";

function flush() {
  const joined = answers;
  answers = "";
  process.stdout.write(joined);
}

process.stdin.setEncoding("utf8");
process.stdin.on(
  "data",
  createLineSplitter((line) => {
    const answer = answerTo(JSON.parse(line));
    if (answer === undefined) return;
    // All answers of a tick become one write: the wake-ups of the reader are part of what is measured.
    if (answers === "") process.nextTick(flush);
    answers += answer + "\n";
  }),
);
process.stdin.on("end", () => process.exit(0));
