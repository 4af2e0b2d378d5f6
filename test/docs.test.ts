import { describe, expect, it } from "vitest";
import { FAULTS } from "../src/errors.ts";
import { SETTING_ALIASES } from "../src/setting-aliases.ts";
import { settingWords } from "../src/settings.ts";

// Made from the code: `npm run docs` writes them, and the tests fail when they are stale.

const groups = group(settingWords());

function group(words: ReturnType<typeof settingWords>) {
  const grouped = new Map<string, typeof words>();
  for (const word of words) grouped.set(word.group, [...(grouped.get(word.group) ?? []), word]);
  return grouped;
}

describe("documents made from the code", () => {
  it("has a fresh .env.example", async () => {
    const lines = [
      "# Settings of mcp-sse-gateway. Copy to .env and uncomment what you need.",
      "# The real environment wins over this file.",
    ];
    for (const [name, words] of groups) {
      lines.push("", `# --- ${name} ---`);
      for (const word of words)
        lines.push("", `# ${word.meaning}`, `# ${word.name}=${word.default || (word.example ?? "")}`);
    }
    await expect(`${lines.join("\n")}\n`).toMatchFileSnapshot("../.env.example");
  });

  it("has a fresh docs/configuration.md", async () => {
    const lines = [
      "# Configuration",
      "",
      "Settings are environment variables. A `.env` file in the working folder is read too; the real environment wins.",
      "The command line knows `--port` and the server's command behind `--`; they win over both.",
      "A value that makes no sense stops the start with exit code 2 and a list of all problems.",
    ];
    for (const [name, words] of groups) {
      lines.push("", `## ${name}`, "", "| setting | default | meaning |", "| --- | --- | --- |");
      for (const word of words) {
        const meaning =
          word.default || word.example === undefined
            ? word.meaning
            : `${word.meaning} Example: \`${word.example}\``;
        lines.push(
          `| \`${word.name}\` | ${word.default ? `\`${word.default}\`` : "–"} | ${meaning.replaceAll("|", "\\|")} |`,
        );
      }
    }
    lines.push(
      "",
      "## Other names",
      "",
      "Names that other documents use are understood, and told once in the log. Our own name wins where both are set.",
      "",
      "| name | is read as | value |",
      "| --- | --- | --- |",
    );
    for (const { name, setting, meaning } of SETTING_ALIASES)
      lines.push(`| \`${name}\` | ${setting === undefined ? "–" : `\`${setting}\``} | ${meaning} |`);
    await expect(`${lines.join("\n")}\n`).toMatchFileSnapshot("../docs/configuration.md");
  });

  it("has a fresh docs/errors.md", async () => {
    const lines = [
      "# Errors",
      "",
      "Every refused request is answered with JSON: `error` (a short phrase), `reason` (stable, match on this), `message`",
      "(what happened and how to mend it) and `requestId` (the same in the gateway's log). What goes wrong after a 202 comes",
      "on the stream as a JSON-RPC error with the code below and the reason in `data.reason`.",
      "",
      "| reason | status | code | error | message |",
      "| --- | --- | --- | --- | --- |",
    ];
    for (const [reason, { status, rpcCode, error, message }] of Object.entries(FAULTS)) {
      lines.push(`| \`${reason}\` | ${status} | ${rpcCode} | ${error} | ${message} |`);
    }
    await expect(`${lines.join("\n")}\n`).toMatchFileSnapshot("../docs/errors.md");
  });
});
