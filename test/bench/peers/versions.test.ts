import { expect, it } from "vitest";
import { readLock } from "./versions.ts";

it("names every version of the dependencies that decide a peer's cost, the outermost first", () => {
  const read = readLock("supergateway", {
    packages: {
      "": { version: "9.9.9" },
      "node_modules/@modelcontextprotocol/core/node_modules/zod": { version: "4.6.7" },
      "node_modules/@modelcontextprotocol/sdk": { version: "1.30.0" },
      "node_modules/@modelcontextprotocol/server/node_modules/zod": { version: "4.6.7" },
      "node_modules/cors": { version: "2.8.6" },
      "node_modules/supergateway": { version: "4.0.0" },
      "node_modules/zod": { version: "3.25.76" },
    },
  });
  expect(read).toEqual({
    version: "4.0.0",
    dependencies: { zod: ["3.25.76", "4.6.7"], "@modelcontextprotocol/sdk": ["1.30.0"] },
  });
});

it("takes the SDK's own version as that of the server without a gateway", () => {
  const read = readLock("sdk", {
    packages: {
      "node_modules/zod": { version: "4.6.7" },
      "node_modules/@modelcontextprotocol/sdk": { version: "1.32.2" },
    },
  });
  expect(read).toEqual({ version: "1.32.2", dependencies: { zod: ["4.6.7"] } });
});
