import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { KEY } from "../support/start-gateway.ts";

/** What stands before a gateway under test. */
export interface KeyFront {
  port: number;
  /** Says where everything goes from now on. */
  passTo(port: number): void;
  close(): Promise<void>;
}

/**
 * Passes everything on as it is, and shows the key where a request has no query. The suite can show a key in the URL
 * only, and where it tests headers it sends its requests without the URL's query.
 */
export async function openKeyFront(): Promise<KeyFront> {
  let to: number | undefined;
  const server = createServer((req, res) => {
    const key = req.url?.includes("?") ? [] : ["X-API-Key", KEY];
    const headers = [...req.rawHeaders, ...key];
    const onward = request({ host: "127.0.0.1", port: to, path: req.url, method: req.method, headers });
    onward.on("response", (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
      res.flushHeaders();
      answer.pipe(res);
      answer.on("error", () => res.destroy());
    });
    onward.on("error", () => res.destroy());
    res.on("close", () => onward.destroy());
    req.pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    passTo: (port) => (to = port),
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
