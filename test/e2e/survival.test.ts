// The short form of three of the failure suite's stories; `npm run test:faults` plays all of them in full.
import "../faults/cuts.story.ts";
import "../faults/rolling.story.ts";
import "../faults/streamable-cuts.story.ts";
