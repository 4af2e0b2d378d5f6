// The short form of two of the failure suite's stories; `npm run test:faults` plays all of them in full.
import "../faults/cuts.story.ts";
import "../faults/rolling.story.ts";
