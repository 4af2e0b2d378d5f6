import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { openKeyFront } from "./key-front.ts";
import { spawnGateway } from "../support/spawn-gateway.ts";
import { KEY } from "../support/start-gateway.ts";

/** Something that a suite can be run against. */
export interface OpenTarget {
  url: string;
  close(): Promise<void>;
}

export interface Target {
  name: string;
  /** What stands in the table. */
  words: string;
  open(): Promise<OpenTarget>;
}

const FIXTURE = join(import.meta.dirname, "../fixtures/conformance-server.mjs");
/** Told to, since the second gateway's SSE path speaks both transports. */
const SSE_ONLY = { MCP_SERVER_TRANSPORT: "sse", MCP_SERVER_HEADERS: `X-API-Key: ${KEY}` };
const STDIO = [process.execPath, FIXTURE, "stdio"];

export const DIRECT: Target = {
  name: "direct",
  words: "none: the server itself",
  open: openFixture,
};

/** The gateway before the same server, in every way that it can reach one. */
export const BACKENDS: readonly Target[] = [
  {
    name: "http",
    words: "Streamable HTTP",
    open: () => stacked(openFixture, ({ url }) => openGateway({ env: { MCP_SERVER_URL: url } })),
  },
  { name: "stdio", words: "stdio", open: () => openGateway({ command: STDIO }) },
  {
    name: "sse",
    words: "HTTP+SSE, of a second gateway before stdio",
    open: () => stacked(openSse, ({ url }) => openGateway({ env: { ...SSE_ONLY, MCP_SERVER_URL: url } })),
  },
  {
    name: "shared",
    words: "stdio, one process for all sessions",
    open: () => openGateway({ command: STDIO, env: { MCP_SERVER_MODEL: "shared" } }),
  },
];

/** The fixture over HTTP. */
async function openFixture(): Promise<OpenTarget> {
  const child = spawn(process.execPath, [FIXTURE, "http", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  const killOnExit = () => void child.kill("SIGKILL");
  process.once("exit", killOnExit);
  const exited = once(child, "exit");
  const [port] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  return {
    url: `http://localhost:${port}/mcp`,
    async close() {
      child.kill();
      await exited;
      process.removeListener("exit", killOnExit);
    },
  };
}

/** The gateway's own SSE, which the fixture does not speak. */
async function openSse(): Promise<OpenTarget> {
  const gateway = await spawnGateway({ command: STDIO });
  return { url: `${gateway.url}/mcp/sse`, close: () => gateway.end() };
}

async function openGateway(options: {
  env?: Record<string, string>;
  command?: readonly string[];
}): Promise<OpenTarget> {
  const front = await openKeyFront();
  // The suite tests that a page of this name may call, and that others may not.
  const origin = `http://localhost:${front.port}`;
  const gateway = await spawnGateway({ ...options, env: { ...options.env, ALLOWED_ORIGINS: origin } });
  front.passTo(gateway.port);
  return {
    url: `${origin}/mcp?apiKey=${KEY}`,
    async close() {
      await gateway.end();
      await front.close();
    },
  };
}

async function stacked(
  openBehind: () => Promise<OpenTarget>,
  openFront: (behind: OpenTarget) => Promise<OpenTarget>,
): Promise<OpenTarget> {
  const behind = await openBehind();
  try {
    const front = await openFront(behind);
    return {
      url: front.url,
      async close() {
        await front.close();
        await behind.close();
      },
    };
  } catch (error) {
    await behind.close();
    throw error;
  }
}
