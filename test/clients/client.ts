import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { KEY } from "../support/start-gateway.ts";

/** What the client is told to speak; `untyped`: nothing, so that it has to find out that the URL is of SSE. */
export type Transport = "sse" | "http" | "untyped";
export type KeyPlace = "header" | "query";

/** One way to the gateway, as a client is told it. */
export interface Way {
  transport: Transport;
  key: KeyPlace;
  url: string;
  /** `X-API-Key`, or none when the key is in the URL. */
  headers: Record<string, string>;
}

/** A program or a library that people connect with. */
export interface Client {
  name: string;
  version: string;
  /** What it does when all is well. */
  does: string;
  /** Whether it can be given a URL alone. */
  findsOut?: boolean;
  /** Connects, lists and calls as far as it can. Rejects with the reason when something is not as it should be. */
  use(way: Way): Promise<void>;
}

/** The tool that is called: it answers with what it was given, which a client of the newer era also has in a header. */
export const TOOL = "test_x_mcp_header";
export const GIVEN = { region: "eu-north" };
export const ANSWER = "region=eu-north";

export function wayTo(gateway: string, transport: Transport, key: KeyPlace): Way {
  const url = new URL(transport === "http" ? "/mcp" : "/mcp/sse", gateway);
  if (key === "query") url.searchParams.set("apiKey", KEY);
  return { transport, key, url: url.href, headers: key === "header" ? { "X-API-Key": KEY } : {} };
}

/** What the SDKs' clients have in common. */
export interface Calling {
  listTools(): Promise<{ tools: { name: string }[] }>;
  callTool(call: { name: string; arguments: Record<string, unknown> }): Promise<unknown>;
}

/** Lists and calls, and rejects when it is not what the server has. */
export async function listAndCall(client: Calling): Promise<void> {
  const { tools } = await client.listTools();
  if (!tools.some(({ name }) => name === TOOL)) throw new Error(`no ${TOOL} among ${tools.length} tools`);
  expectIn(JSON.stringify(await client.callTool({ name: TOOL, arguments: GIVEN })), ANSWER);
}

export function expectIn(text: string, part: string): void {
  if (!text.includes(part)) throw new Error(`expected ${part} in: ${text.slice(0, 300)}`);
}

/** Runs with an environment whose HOME is empty, so that a client finds no settings of the person at the machine. */
export async function withHome<T>(
  use: (env: Record<string, string>, home: string) => Promise<T>,
): Promise<T> {
  const home = mkdtempSync(join(tmpdir(), "mcp-client-"));
  try {
    return await use({ PATH: process.env["PATH"] ?? "", HOME: home }, home);
  } finally {
    rmSync(home, { recursive: true, force: true, maxRetries: 3 });
  }
}
