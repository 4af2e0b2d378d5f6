import { expect, it } from "vitest";
import { openTestStream } from "./support/sse-client.ts";
import { startTestGateway } from "./support/start-gateway.ts";

it("SEC-20 logs what a server says on stderr without the values that the operator gave it", async () => {
  const talks = "console.error('it is ' + process.env.GATEWAY_TEST_SECRET); process.stdin.resume()";
  const gateway = await startTestGateway({
    env: {
      MCP_SERVER_ENV: "GATEWAY_TEST_SECRET",
      GATEWAY_TEST_SECRET: "canary-of-the-operator",
      LOG_LEVEL: "debug",
    },
    command: [process.execPath, "-e", talks],
  });
  try {
    const stream = await openTestStream(gateway.url);
    await stream.post({ jsonrpc: "2.0", method: "notifications/initialized" });
    await expect.poll(gateway.logText).toContain("it is [redacted]");
    expect(gateway.logText()).not.toContain("canary");
  } finally {
    await gateway.close();
  }
});
