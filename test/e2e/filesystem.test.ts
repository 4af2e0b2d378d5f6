import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { showKey } from "../support/sdk-clients.ts";
import { spawnGateway } from "../support/spawn-gateway.ts";
import { connectRecordingClient, outcome, type Transcript } from "../support/transcript.ts";

const PROGRAM = fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-filesystem/dist/index.js"));
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);

/** Makes the directory anew, always in the same order: the order in a listing may depend on it. */
async function fill(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(join(directory, "notes"), { recursive: true });
  await writeFile(join(directory, "poem.txt"), "one\ntwo\nthree ☂\nfour\n");
  await writeFile(join(directory, "dot.png"), PNG);
  await writeFile(join(directory, "large.txt"), "0123456789".repeat(50_000));
  await writeFile(join(directory, "notes", "a.md"), "# A\n");
}

/** Arguments for every tool of server-filesystem; a tool without an entry here fails the story. */
function argumentsIn(directory: string): Record<string, Record<string, unknown>[]> {
  const at = (...names: string[]) => join(directory, ...names);
  const edits = [{ oldText: "two", newText: "zwei" }];
  return {
    read_file: [{ path: at("poem.txt") }],
    read_text_file: [
      { path: at("poem.txt"), head: 2 },
      { path: at("poem.txt"), tail: 1 },
      { path: at("large.txt") },
      { path: at("none.txt") },
      { path: "/etc/hostname" },
    ],
    read_media_file: [{ path: at("dot.png") }],
    read_multiple_files: [{ paths: [at("poem.txt"), at("none.txt"), at("notes", "a.md")] }],
    write_file: [{ path: at("new.txt"), content: "written through it: ✓\n" }],
    edit_file: [
      { path: at("poem.txt"), edits, dryRun: true },
      { path: at("poem.txt"), edits },
      { path: at("poem.txt"), edits },
    ],
    create_directory: [{ path: at("made", "deep") }],
    list_directory: [{ path: directory }],
    list_directory_with_sizes: [{ path: directory, sortBy: "size" }],
    directory_tree: [{ path: directory }],
    move_file: [{ source: at("new.txt"), destination: at("made", "moved.txt") }],
    search_files: [{ path: directory, pattern: "**/*.md" }],
    get_file_info: [{ path: at("poem.txt") }, { path: at("notes") }],
    list_allowed_directories: [{}],
  };
}

/** Calls every tool, and reads what is on the disk afterwards. */
async function useFiles(directory: string, transport: Transport): Promise<Transcript> {
  await fill(directory);
  const { client } = await connectRecordingClient(transport, [{ uri: `file://${directory}`, name: "files" }]);
  const { tools } = await client.listTools();
  const seen: Transcript = { server: client.getServerVersion(), tools };
  const calls = argumentsIn(directory);
  for (const { name } of tools) {
    const ofTool = calls[name];
    if (ofTool === undefined) throw new Error(`no arguments for the tool ${name}`);
    for (const [index, args] of ofTool.entries())
      seen[`${name} ${index}`] = await outcome(client.callTool({ name, arguments: args }));
  }
  await client.close();
  seen["poem"] = await readFile(join(directory, "poem.txt"), "utf8");
  seen["moved"] = await readFile(join(directory, "made", "moved.txt"), "utf8");
  return seen;
}

/** Takes out the times of files, which are those of the run. */
const withoutTimes = (transcript: Transcript): unknown =>
  JSON.parse(JSON.stringify(transcript).replaceAll(/(created|modified|accessed): [^\\]+/g, "$1: <time>"));

test("server-filesystem does the same through the gateway as over plain stdio, every tool", async () => {
  const directory = join(await realpath(await mkdtemp(join(tmpdir(), "gateway-files-"))), "files");
  onTestFinished(() => rm(join(directory, ".."), { recursive: true }));
  const args = [PROGRAM, directory];
  await fill(directory); // The server wants its directory at its start.
  const direct = await useFiles(
    directory,
    new StdioClientTransport({ command: process.execPath, args, stderr: "ignore" }),
  );
  const gateway = await spawnGateway({ command: [process.execPath, ...args] });
  onTestFinished(() => gateway.end());
  const { url, headers } = showKey(gateway.url, "query");
  const gatewayed = await useFiles(
    directory,
    new SSEClientTransport(url, { requestInit: { headers } }) as Transport,
  );

  expect(gatewayed["poem"]).toBe("one\nzwei\nthree ☂\nfour\n");
  expect(gatewayed["moved"]).toBe("written through it: ✓\n");
  expect(withoutTimes(gatewayed)).toEqual(withoutTimes(direct));
  const { tools } = gatewayed as { tools: unknown[] };
  process.stderr.write(
    `server-filesystem: ${tools.length} tools, ${Object.keys(gatewayed).length} results equal to plain stdio's\n`,
  );
}, 60_000);
