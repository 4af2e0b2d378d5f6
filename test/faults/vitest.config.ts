import { join } from "node:path";
import { defineConfig } from "vitest/config";

/** The survival stories. Plain `vitest run` does not take them: one at a time they need the whole machine. */
export default defineConfig({
  test: {
    root: join(import.meta.dirname, "../.."),
    include: ["test/faults/**/*.story.ts"],
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
  },
});
