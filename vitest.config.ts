import { defineConfig } from "vitest/config";

/** A test waits for events, not for a time: the limits are only there so that one that hangs is named, on a slow disk too. */
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    expect: { poll: { timeout: 20_000, interval: 10 } },
  },
});
