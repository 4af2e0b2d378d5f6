import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { FAULTS } from "../../src/errors.ts";
import { SETTING_ALIASES } from "../../src/setting-aliases.ts";
import { SETTINGS, settingWords } from "../../src/settings.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const pages = ["README.md", ...readdirSync(`${root}docs`).map((name) => `docs/${name}`)]
  .filter((path) => path.endsWith(".md") && existsSync(root + path))
  .map((path) => ({ path, text: readFileSync(root + path, "utf8") }));
const textOf = (path: string) => pages.find((page) => page.path === path)?.text;
const withoutCode = (text: string) => text.replace(/^ *```[^]*?^ *```$/gm, "").replace(/`[^`\n]*`/g, "");

/** Names in capitals that are no settings of the gateway: other programs', the platform's and Node's. */
const ALIASES = SETTING_ALIASES.map(({ name }) => name);
const OTHERS =
  /^(RAILWAY_|TEST_REDIS_URL$|GITHUB_TOKEN$|REMOTE_TOKEN$|NODE_OPTIONS$|NODE_EXTRA_CA_CERTS$|SSL_CERT_|YOUR_|LC_ALL$|FAULTS_LOG$|OTEL_)/;

/** The anchors that GitHub makes of a page's headings. */
const anchors = (text: string) =>
  [...text.replace(/^ *```[^]*?^ *```$/gm, "").matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );

/** Links of a page that lead to no page or heading of this repository. */
const deadLinks = ({ path, text }: { path: string; text: string }) =>
  [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = ""]) => target)
    .filter((target) => !/^(https?|mailto):/.test(target))
    .filter((target) => {
      const [file = "", anchor] = target.split("#");
      const to = file === "" ? path : relative(root, join(root, dirname(path), file));
      if (!existsSync(root + to)) return true;
      return anchor !== undefined && !anchors(textOf(to) ?? "").includes(anchor);
    });

describe.each(pages)("$path", (page) => {
  test("has links that lead somewhere", () => {
    expect(deadLinks(page)).toEqual([]);
  });

  test("names settings that exist", () => {
    const named = [...page.text.matchAll(/(?<![\w$-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![\w=]*\{)/g)].map(
      ([name]) => name,
    );
    expect(
      [...new Set(named)].filter(
        (name) => !(name in SETTINGS) && !OTHERS.test(name) && !ALIASES.includes(name),
      ),
    ).toEqual([]);
  });

  test("names reasons that exist", () => {
    const named = [...page.text.matchAll(/(?:40\d|41\d|429|50\d|reason)[ ,]+`([a-z]+(?:_[a-z]+)+)`/g)].map(
      ([, name = ""]) => name,
    );
    expect(named.filter((name) => !(name in FAULTS))).toEqual([]);
  });
});

test("the limits in operations.md are the defaults", () => {
  const defaults = new Map(settingWords().map(({ name, default: value }) => [name, value]));
  const rows = [...(textOf("docs/operations.md") ?? "").matchAll(/^\|[^|]+\| `([A-Z_]+)` (\d+)( MiB)? \|/gm)];
  expect(rows.length).toBeGreaterThan(10);
  for (const [, name = "", amount, mebi] of rows) {
    const value = Number(amount) * (mebi === undefined ? 1 : 1024 * 1024);
    expect([name, defaults.get(name) ?? "25"]).toEqual([name, String(value)]);
  }
});

test("a dead link is seen", () => {
  expect(
    deadLinks({ path: "docs/x.md", text: "[a](nowhere.md) [b](railway.md#nowhere) `[c](no.md)`" }),
  ).toEqual(["nowhere.md", "railway.md#nowhere"]);
});
