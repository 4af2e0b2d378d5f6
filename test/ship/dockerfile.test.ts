import { readFileSync } from "node:fs";
import type {
  Copy,
  Dockerfile,
  Instruction,
  JSONInstruction,
  PropertyInstruction,
  Run,
} from "dockerfile-ast";
import { DockerfileParser } from "dockerfile-ast";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const TEXT = read("Dockerfile");

const words = (instruction: Instruction) => instruction.getArguments().map((argument) => argument.getValue());
const isExecForm = (instruction: JSONInstruction | undefined) =>
  instruction !== undefined &&
  instruction.getOpeningBracket() !== null &&
  instruction.getClosingBracket() !== null;
const execWords = (instruction: JSONInstruction | undefined) =>
  instruction?.getJSONStrings().map((word) => word.getJSONValue()) ?? [];
const all = (file: Dockerfile, keyword: string) =>
  file.getInstructions().filter((instruction) => instruction.getKeyword() === keyword);
const runs = (file: Dockerfile) => all(file, "RUN") as Run[];
const last = <T>(items: T[]) => items.at(-1);
const variables = (file: Dockerfile) =>
  ([...all(file, "ENV"), ...all(file, "ARG")] as PropertyInstruction[]).flatMap((instruction) =>
    instruction.getProperties(),
  );
const environment = (file: Dockerfile) =>
  new Map(file.getENVs().flatMap((env) => env.getProperties().map((p) => [p.getName(), p.getValue()])));

/** Base images, with the default of a global ARG put in place of its name. */
const baseImages = (file: Dockerfile) => {
  const defaults = new Map(
    file.getInitialARGs().map((arg) => [arg.getProperty()?.getName(), arg.getProperty()?.getValue()]),
  );
  const stages = new Set(file.getFROMs().map((from) => from.getBuildStage()));
  return file
    .getFROMs()
    .map((from) => from.getImage() ?? "")
    .filter((image) => !stages.has(image))
    .map((image) => image.replace(/\$\{?(\w+)\}?/g, (_whole, name: string) => defaults.get(name) ?? ""));
};

/** Each promise, the rule that holds it, and a change to the Dockerfile that breaks it. */
const PROMISES: [promise: string, holds: (file: Dockerfile) => boolean, breakIt: (text: string) => string][] =
  [
    [
      "every base is Node 24 on slim Debian, none is `latest`",
      (file) =>
        baseImages(file).length > 0 &&
        baseImages(file).every((image) => /^node:24[\d.]*-[a-z]+-slim(@sha256:[0-9a-f]{64})?$/.test(image)),
      (text) => text.replace("node:24-trixie-slim", "node:latest"),
    ],
    [
      "the image that runs is not the stage that compiled",
      (file) =>
        file.getFROMs().length >= 3 &&
        all(file, "COPY").some((copy) => words(copy).some((word) => word === "/app/dist")) &&
        !file
          .getContainingImage(last(file.getFROMs())!.getRange().start)!
          .getInstructions()
          .some((instruction) => /\bnpm\b/.test(instruction.getArgumentsContent() ?? "")),
      (text) => text.replace("FROM ${NODE_IMAGE} AS runtime", ""),
    ],
    [
      "dependencies come from the lockfile alone, and their install scripts do not run",
      (file) =>
        runs(file).some((run) => words(run).join(" ").includes("npm ci")) &&
        runs(file).every((run) => !/\bnpm (install|i|add)\b/.test(words(run).join(" "))) &&
        runs(file)
          .map((run) => words(run).join(" "))
          .filter((line) => line.includes("npm ci"))
          .every((line) => line.includes("--ignore-scripts")),
      (text) => text.replace("npm ci --omit=dev", "npm install --omit=dev"),
    ],
    [
      "the production tree leaves development dependencies out",
      (file) => runs(file).some((run) => /npm ci .*--omit=dev/.test(words(run).join(" "))),
      (text) => text.replace(" --omit=dev", ""),
    ],
    [
      "no mount of any kind: Railway refuses cache mounts with ids that are not its own",
      (file) => runs(file).every((run) => run.getFlags().length === 0) && file.getDirectives().length === 0,
      (text) => text.replace("RUN npm run build", "RUN --mount=type=cache,target=/root/.npm npm run build"),
    ],
    [
      "the gateway is started directly, so that SIGTERM reaches it and no npm hook runs",
      (file) =>
        isExecForm(last(file.getCMDs())) &&
        execWords(last(file.getCMDs())).join(" ") === "node --enable-source-maps dist/main.js" &&
        all(file, "SHELL").length === 0,
      (text) => text.replace(/^CMD \[.*\]$/m, "CMD npm start"),
    ],
    [
      "PID 1 reaps the orphans of MCP servers and passes signals to the gateway alone",
      (file) =>
        isExecForm(last(file.getENTRYPOINTs())) &&
        execWords(last(file.getENTRYPOINTs())).join(" ") === "tini --",
      (text) => text.replace('["tini", "--"]', "tini --"),
    ],
    [
      "the process is not root, and says so by number",
      (file) => {
        const final = file.getContainingImage(last(file.getFROMs())!.getRange().start)!;
        const users = final.getInstructions().filter((instruction) => instruction.getKeyword() === "USER");
        return /^[1-9]\d*(:[1-9]\d*)?$/.test(last(users)?.getArgumentsContent() ?? "");
      },
      (text) => text.replace("USER 1000:1000", "USER 1000:1000\nUSER root"),
    ],
    [
      "what is exposed is where the gateway listens",
      (file) =>
        environment(file).get("PORT") === String(loadConfig({}).http.port) &&
        all(file, "EXPOSE").flatMap(words).join() === environment(file).get("PORT"),
      (text) => text.replace("EXPOSE 3000", "EXPOSE 8080"),
    ],
    [
      "it runs as production, where a missing or short API key is refused",
      (file) => environment(file).get("NODE_ENV") === "production",
      (text) => text.replace("NODE_ENV=production", "NODE_ENV=development"),
    ],
    [
      "health is asked of /health with Node itself: the slim image has no curl",
      (file) => {
        const line = last(file.getHEALTHCHECKs())?.getArgumentsContent() ?? "";
        return /CMD \["node",/.test(line) && line.includes("/health'") && line.includes("process.env.PORT");
      },
      (text) => text.replace("/health'", "/health/ready'"),
    ],
    [
      "the stop signal is the one that drains",
      (file) =>
        all(file, "STOPSIGNAL")
          .map((signal) => signal.getArgumentsContent())
          .join() === "SIGTERM",
      (text) => text.replace("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL"),
    ],
    [
      "no secret is asked for at build time or kept in a layer",
      (file) =>
        variables(file).every((variable) => !/key|token|secret|password|redis/i.test(variable.getName())),
      (text) => text.replace("ENV NODE_ENV", "ARG MCP_API_KEY\nENV NODE_ENV"),
    ],
    [
      "only named files are copied, never the whole folder",
      (file) =>
        all(file, "ADD").length === 0 &&
        all(file, "COPY").every((copy) => words(copy).every((word) => !/^(\.|\*)$/.test(word))),
      (text) => text.replace("COPY src ./src", "COPY . ."),
    ],
    [
      "package lists and programs of the system are not left behind",
      (file) =>
        runs(file)
          .map((run) => run.getArgumentsContent() ?? "")
          .filter((line) => line.includes("apt-get install"))
          .every(
            (line) =>
              line.includes("--no-install-recommends") && line.includes("rm -rf /var/lib/apt/lists/*"),
          ) && runs(file).every((run) => !/\b(curl|wget)\b/.test(run.getArgumentsContent() ?? "")),
      (text) => text.replace(" --no-install-recommends", ""),
    ],
  ];

describe("the Dockerfile", () => {
  test.each(PROMISES)("%s", (_promise, holds, breakIt) => {
    const broken = breakIt(TEXT);
    expect(holds(DockerfileParser.parse(TEXT))).toBe(true);
    expect(broken, "the counter-example changes the file").not.toBe(TEXT);
    expect(holds(DockerfileParser.parse(broken)), "the rule sees the counter-example").toBe(false);
  });
});

describe(".dockerignore", () => {
  const lines = read(".dockerignore")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));

  test("keeps everything out but what the Dockerfile copies", () => {
    const copied = (all(DockerfileParser.parse(TEXT), "COPY") as Copy[])
      .filter((copy) => copy.getFromFlag() === null)
      .flatMap((copy) => words(copy).slice(0, -1));
    expect(lines[0]).toBe("*");
    expect(
      lines
        .filter((line) => line.startsWith("!"))
        .map((line) => line.slice(1))
        .sort(),
    ).toEqual([...new Set(copied)].sort());
  });

  test.each([".env", ".env.*", "node_modules", ".git", "test", "dist"])(
    "keeps %s out by name, after all exceptions",
    (name) => {
      expect(lines.indexOf(name)).toBeGreaterThan(lines.findLastIndex((line) => line.startsWith("!")));
    },
  );
});
