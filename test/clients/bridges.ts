import { pathToFileURL } from "node:url";
import { join } from "node:path";
import { Client as SdkClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { binOf, findNode, installPeers } from "../conformance/peers.ts";
import { type Client, listAndCall, type Way, withHome } from "./client.ts";

const MAX_STDERR = 4_000;

/** A program that speaks stdio to one side and the gateway's transport to the other; an SDK client uses it. */
function bridge(
  name: string,
  version: string,
  argsOf: (modules: string, way: Way) => string[] | Promise<string[]>,
): Client {
  return {
    name,
    version,
    does: "connect, list, call, over its stdio",
    findsOut: name === "mcp-remote",
    use: (way) =>
      withHome(async (env) => {
        const modules = await installPeers(`clients/${name}`, { [name]: version });
        const args = await argsOf(modules, way);
        const wire = new StdioClientTransport({ command: await findNode(), args, env, stderr: "pipe" });
        let stderr = "";
        wire.stderr?.on("data", (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-MAX_STDERR)));
        const client = new SdkClient({ name: "test-clients", version: "1.0.0" });
        try {
          await client.connect(wire);
          await listAndCall(client);
        } catch (error) {
          throw new Error(`${error instanceof Error ? error.message : String(error)}: ${lastLines(stderr)}`, {
            cause: error,
          });
        } finally {
          await client.close();
        }
      }),
  };
}

const lastLines = (text: string) => text.trim().split("\n").slice(-3).join(" / ");

const headerFlags = ({ headers }: Way, separator: string) =>
  Object.entries(headers).flatMap(([name, value]) => ["--header", `${name}${separator}${value}`]);

export const mcpRemote = bridge("mcp-remote", "0.15.1", (modules, way) => [
  binOf(modules, "mcp-remote"),
  way.url,
  "--transport",
  way.transport === "sse" ? "sse-only" : "http-first",
  "--allow-http",
  ...headerFlags(way, ":"),
]);

export const supergateway = bridge("supergateway", "4.0.0", (modules, way) => [
  binOf(modules, "supergateway"),
  way.transport === "sse" ? "--sse" : "--streamableHttp",
  way.url,
  ...headerFlags(way, ": "),
]);

/** Its program only serves; as a client it is a library of three lines. */
export const mcpProxy = bridge("mcp-proxy", "6.7.19", (modules, way) => {
  const library = pathToFileURL(join(modules, "mcp-proxy/dist/index.mjs")).href;
  const serverType = way.transport === "sse" ? "SSE" : "HTTPStream";
  const options = { url: way.url, serverType, transportOptions: { requestInit: { headers: way.headers } } };
  return [
    "--input-type=module",
    "--eval",
    `import { startStdioServer } from ${JSON.stringify(library)}; await startStdioServer(${JSON.stringify(options)});`,
  ];
});
