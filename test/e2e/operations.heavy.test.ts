import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { BINARY, freePort, startRedis } from "../support/redis-server.ts";
import { PROGRAM } from "../support/spawn-gateway.ts";

// The drill of docs/operations.md, as it stands there: its blocks are marked `sh drill`.

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/operations.md"), "utf8");
/** Flags make it one of ours, which may be emptied. */
const OURS = ["--maxmemory-policy", "noeviction"];
const canEmptyRedis = BINARY !== undefined && spawnSync("redis-cli", ["--version"]).status === 0;

/** The marked blocks, each with the heading that it stands under. */
function drill(page: string): { heading: string; commands: string }[] {
  const found: { heading: string; commands: string }[] = [];
  let heading = "";
  for (const [, title, commands] of page.matchAll(/^#+ (.+)$|^```sh drill\n([^]*?)^```$/gm)) {
    if (title !== undefined) heading = title;
    else if (commands !== undefined) found.push({ heading, commands });
  }
  return found;
}

/** A folder for the drill, with the program on its path. */
function aPlace(): { folder: string; path: string } {
  const folder = mkdtempSync(join(tmpdir(), "drill-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const program = join(bin, "mcp-sse-gateway");
  writeFileSync(program, `#!/bin/sh\nexec "${process.execPath}" "${PROGRAM}" "$@"\n`);
  chmodSync(program, 0o755);
  return { folder, path: `${bin}${delimiter}${process.env["PATH"]}` };
}

/** Runs all blocks in one shell. Answers what was said under each heading, and how the shell ended. */
async function play(place: { folder: string; path: string }, ports: ReadonlyMap<string, number>) {
  let script = PAGE_STARTS;
  for (const { heading, commands } of drill(PAGE)) script += `echo '@@${heading}'\n${commands}`;
  for (const [shown, port] of ports) script = script.replaceAll(shown, shown.replace(/\d+$/, String(port)));
  const env = { PATH: place.path, HOME: place.folder, PORT: String(ports.get("127.0.0.1:3000")) };
  const shell = spawn("bash", ["-c", script], { cwd: place.folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [shell.stdout, shell.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (said += text));
  const code = await new Promise((resolve) => shell.once("close", resolve));
  const under = new Map<string, string>();
  for (const part of said.split(/^@@/m).slice(1)) {
    const [heading = "", ...lines] = part.split("\n");
    under.set(heading, (under.get(heading) ?? "") + lines.join("\n"));
  }
  return {
    code,
    said,
    under: (heading: string) => under.get(heading) ?? `nothing under ${heading}: ${said}`,
  };
}

/** Stops at the first command that fails, and leaves no gateway behind. */
const PAGE_STARTS = `set -eu -o pipefail\nexec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n`;

it.skipIf(!canEmptyRedis)(
  "the drill of operations.md does what the page says",
  { timeout: 60_000 },
  async () => {
    const stores = await Promise.all([startRedis(OURS), startRedis(OURS)]);
    onTestFinished(async () => void (await Promise.all(stores.map((store) => store.stop()))));
    const [first = 0, second = 0] = stores.map(({ url }) => Number(new URL(url).port));
    const place = aPlace();
    const ports = new Map([
      ["127.0.0.1:6379", first],
      ["127.0.0.1:6380", second],
      ["127.0.0.1:3000", await freePort()],
      ["127.0.0.1:9464", await freePort()],
    ]);
    ports.set("METRICS_PORT=9464", ports.get("127.0.0.1:9464") as number);
    const { code, said, under } = await play(place, ports);

    expect(code, said).toBe(0);
    const key = readFileSync(join(place.folder, "ci.key"), "utf8").trim();
    expect(key).toMatch(/^mgw_live_\w{50}$/);
    expect(said).not.toContain(key);
    expect(under("Start")).toContain('"status":"ok"');
    expect(under("See").match(/ serving /g)).toHaveLength(2);
    expect(under("See")).toMatch(/"status":"ok","store":"redis","reachable":true/);
    expect(under("See")).toMatch(/^mcp_gateway_sessions_opened_total\{transport="streamable"\} 2$/m);
    expect(under("Back up")).toMatch(/^3 entries of redis:/m);
    expect(under("Break")).toContain('"sessions":2');
    expect(under("Restore")).toMatch(/3 would be written[^]+3 written[^]+2 sessions\./);
    expect(under("Move")).toMatch(/3 written[^]+Both stores hold the same\./);
    const keys = under("Rotate a key, revoke the old one");
    expect(keys).toMatch(/revoked k_\w+ of ci\n/);
    expect(keys).toContain("0 sessions.");
    expect(keys).toContain("new key: 200");
    const audit = under("Verify the audit log, and stop");
    expect(audit.match(/^whole$/gm)).toHaveLength(2);
    expect(audit.match(/"reason":"key_revoked"/g)).toHaveLength(2);
    expect(audit).not.toContain(key);
  },
);

it("the page has a drill", () => {
  expect(drill(PAGE).length).toBeGreaterThan(8);
});
