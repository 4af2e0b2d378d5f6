import { execFileSync, spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const commands = [...readFileSync(join(ROOT, "README.md"), "utf8").matchAll(/```sh\n(.*)\n```/g)].map(
  (match) => match[1] as string,
);

/** What a fresh clone would hold. */
function copyOfTheTree(): string {
  const folder = mkdtempSync(join(tmpdir(), "readme-"));
  const files = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: ROOT,
  });
  for (const file of files.toString().split("\0").filter(Boolean)) {
    if (!file.startsWith("test/"))
      cpSync(join(ROOT, file), join(folder, dirname(file), file.split("/").at(-1) as string));
  }
  return folder;
}

it(
  "the README's first command, in a fresh copy, serves and prints a curl line that works",
  { timeout: 180_000 },
  async () => {
    expect(commands[0]).toBe("npm install && npm start");
    const folder = copyOfTheTree();
    const env = {
      PATH: process.env["PATH"],
      HOME: process.env["HOME"],
      PORT: "0",
      HOST: "127.0.0.1",
      npm_config_audit: "false",
    };
    const program = spawn("sh", ["-c", commands[0] as string], { cwd: folder, env, detached: true });
    try {
      let said = "";
      const curl = await new Promise<string>((resolve, reject) => {
        const listen = (chunk: Buffer) => {
          said += chunk.toString();
          const line = /curl -N "[^"]+"/.exec(said)?.[0];
          if (line !== undefined) resolve(line);
        };
        program.stdout.on("data", listen);
        program.stderr.on("data", listen);
        program.on("exit", (code) => reject(new Error(`it ended with ${code}: ${said.slice(-1000)}`)));
      });
      const shown = spawn("sh", ["-c", `${curl} --max-time 20`]);
      const first = await new Promise<string>((resolve, reject) => {
        let text = "";
        shown.stdout.on("data", (chunk: Buffer) => {
          text += chunk.toString();
          if (text.includes("\n\n")) resolve(text);
        });
        shown.on("exit", () => reject(new Error(`curl saw: ${text}`)));
      });
      expect(first).toMatch(/event: endpoint\ndata: \/messages\?sessionId=/);
      shown.kill();
    } finally {
      const ended = new Promise((resolve) => program.once("exit", resolve));
      if (program.exitCode === null && program.pid !== undefined) {
        process.kill(-program.pid, "SIGTERM");
        await ended;
      }
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

it("the README's command for the tests is the one that CI runs", () => {
  const testCommand = commands.find((command) => command.includes("test"));
  expect(testCommand).toBe("npm test");
  expect(readFileSync(join(ROOT, ".ci/run"), "utf8")).toContain(`step ${testCommand} `);
});
