import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { spawnGateway } from "../support/spawn-gateway.ts";
import { showKey } from "../support/sdk-clients.ts";
import { connectRecordingClient, type Transcript } from "../support/transcript.ts";
import { talkToEverything } from "./everything-session.ts";

/** The program that `npx` finds, so that the plain run costs no npm. */
const PROGRAM = fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js"));

function plain(args: string[]): Transport {
  return new StdioClientTransport({ command: process.execPath, args, stderr: "ignore" });
}

/** A client's transport to a gateway, in a process of its own, in front of that command. */
async function throughGateway(command: string[]): Promise<Transport> {
  const gateway = await spawnGateway({ command });
  onTestFinished(() => gateway.end());
  const { url, headers } = showKey(gateway.url, "header");
  return new SSEClientTransport(url, { requestInit: { headers } }) as Transport;
}

/**
 * Takes out what differs between any two runs of this server: the time of day in dynamic resources, in plain text and
 * in base64; ids that it draws (UUIDs, task ids) and times of tasks;
 * progress tokens, which count the client's requests, so also its polls for a task; and the random level of simulated log messages.
 */
function withoutChance(transcript: Transcript): unknown {
  const clean = (value: unknown, name = ""): unknown => {
    if (typeof value === "string") {
      const text = name === "blob" ? Buffer.from(value, "base64").toString() : value;
      if (text.includes("created at")) return text.replace(/created at .*/, "created at <time>");
      return /(At|^id|taskId)$/.test(name)
        ? `<${name}>`
        : value
            .replaceAll(
              /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b/g,
              "<id>",
            )
            .replaceAll(/"(createdAt|lastUpdatedAt)": "[^"]+"/g, '"$1": "<time>"');
    }
    if (name === "progressToken") return "<token>";
    if (Array.isArray(value)) return value.map((item) => clean(item));
    if (typeof value !== "object" || value === null) return value;
    if (/-level message|level-message/.test(JSON.stringify((value as { data?: unknown }).data ?? "")))
      return "<a simulated log message>";
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, clean(member, key)]));
  };
  return clean(transcript);
}

/** The environment is the one thing that must differ: ours is made of a short list. */
function takeEnvironment(transcript: Transcript): Record<string, string> {
  const result = transcript["get-env 0"] as { content: { text: string }[] };
  delete transcript["get-env 0"];
  return JSON.parse(result.content[0]?.text ?? "") as Record<string, string>;
}

test("server-everything behind `npx -y` does through the gateway all that it does over plain stdio", async () => {
  const [direct, gatewayed] = await Promise.all([
    talkToEverything(plain([PROGRAM])),
    throughGateway(["npx", "-y", "@modelcontextprotocol/server-everything"]).then(talkToEverything),
  ]);
  takeEnvironment(direct);
  const environment = takeEnvironment(gatewayed);
  expect(Object.keys(environment).filter((name) => /^(MCP_|UPSTASH_|REDIS_|RAILWAY_)/.test(name))).toEqual(
    [],
  );
  expect(JSON.stringify(environment)).not.toContain("test-key");

  expect(Object.keys(direct).length).toBeGreaterThan(50);
  expect(Object.keys(gatewayed)).toEqual(Object.keys(direct));
  expect(withoutChance(gatewayed)).toEqual(withoutChance(direct));

  // The story is about these, so they must be in it.
  const heard = (gatewayed["heard"] as { method: string }[]).map(({ method }) => method);
  for (const method of [
    "notifications/message",
    "notifications/resources/updated",
    "notifications/tools/list_changed",
    "notifications/resources/list_changed",
    "roots/list",
    "sampling/createMessage",
    "elicitation/create",
  ])
    expect(heard).toContain(method);
  expect(heard.filter((method) => method === "notifications/progress")).toHaveLength(4);
  expect(gatewayed["cancelled"]).toMatchObject({
    failed: { message: expect.stringContaining("enough") as string },
  });
  const { tools } = gatewayed as { tools: unknown[] };
  process.stderr.write(
    `server-everything: ${tools.length} tools, ${Object.keys(gatewayed).length + 1} results equal to plain stdio's\n`,
  );
}, 120_000);

test("a list in pages comes page by page, with the server's own cursors", async () => {
  const pages = fileURLToPath(new URL("./pages.mjs", import.meta.url));
  async function listAll(transport: Transport): Promise<unknown[]> {
    const { client } = await connectRecordingClient(transport);
    const all: unknown[] = [];
    let cursor: string | undefined;
    do {
      const page = await client.listTools(cursor === undefined ? {} : { cursor });
      all.push(page);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    await client.close();
    return all;
  }
  const direct = await listAll(plain([pages]));
  expect(direct).toHaveLength(7);
  expect(await listAll(await throughGateway([process.execPath, pages]))).toEqual(direct);
}, 60_000);
