import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { type Child, type ChildOptions, openChild } from "../../src/upstream/child.ts";
import { expectNoFixtures, fixture, livingFixtures } from "./processes.ts";
import { captureLog } from "./recorder.ts";

const { log } = captureLog();

describe("Child", () => {
  let child: Child | undefined;
  afterEach(async () => {
    await child?.kill();
    child?.stdout.destroy();
    await expectNoFixtures();
  });

  async function open(name: string, options: Partial<ChildOptions> = {}): Promise<Child> {
    child = await openChild({ ...fixture(name), log, ...options });
    return child;
  }

  async function firstLine(from: Child): Promise<string> {
    const [chunk] = (await once(from.stdout, "data")) as [Buffer];
    from.stdout.resume();
    return chunk.toString();
  }

  it.each([
    ["a command that is not there", { command: "no-such-command-anywhere" }],
    ["a file that cannot be executed", { command: fixture("never-answers").args[0] as string }],
    ["a folder", { command: "/tmp" }],
    ["a working folder that is not there", { cwd: "/no/such/folder" }],
    ["an argument that no process can have", { args: ["\0"] }],
  ])("FLT-31 refuses %s, without a word of it to clients", async (_, options) => {
    const failure = await open("never-answers", options).then(
      () => expect.unreachable(),
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ reason: "upstream_start_failed", cause: expect.any(Error) });
    expect((failure as Error).message).not.toMatch(/such|fixtures|tmp|spawn/);
  });

  it("SEC-45 gives arguments as they are to a program without a shell", async () => {
    const args = ["$HOME", "`id`", "; touch /tmp/x", "a b", "", "'\""];
    const started = await open("prints-arguments", fixture("prints-arguments", ...args));
    expect(JSON.parse(await firstLine(started))).toMatchObject({ params: args });
  });

  it("FLT-41 gives the environment it is told and nothing beside it", async () => {
    process.env["MCP_API_KEYS"] = "secret-of-ours";
    const started = await open("prints-environment", { env: { ...fixture("").env, ONLY: "this" } });
    delete process.env["MCP_API_KEYS"];
    expect(await firstLine(started)).toContain('"ONLY":"this"');
    await started.close();
    expect(started.stderrTail(10_000)).not.toContain("secret-of-ours");
  });

  it("ends with its input, by itself and without a signal", async () => {
    const started = await open("raw-echo", { graceMs: 60_000 });
    await Promise.all([started.close(), started.close()]);
    expect(await started.exited).toEqual({ code: 0, signal: null });
  });

  it("goes by SIGTERM when the end of its input does not move it", async () => {
    const started = await open("stops-reading", { graceMs: 50 });
    await firstLine(started);
    await started.close();
    expect(await started.exited).toEqual({ code: null, signal: "SIGTERM" });
  });

  it("FLT-32 a child deaf to SIGTERM is gone after close", async () => {
    const started = await open("deaf-to-sigterm", { graceMs: 50 });
    await firstLine(started);
    await started.close();
    expect(await started.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(livingFixtures()).toEqual([]);
  });

  it("FLT-32 a deaf grandchild is gone after close", async () => {
    const started = await open("deaf-grandchild", { graceMs: 50 });
    await firstLine(started);
    expect(livingFixtures()).toHaveLength(2);
    await started.close();
    expect(livingFixtures()).toEqual([]);
  });

  it("FLT-32 a deaf grandchild is gone when the child has left by itself", async () => {
    const started = await open("deaf-grandchild", { graceMs: 50 });
    await firstLine(started);
    started.stdin.write("leave\n");
    expect(await started.exited).toEqual({ code: 0, signal: null });
    await started.gone;
    expect(livingFixtures()).toEqual([]);
  });

  it("kill does not wait for the grace that close gives", async () => {
    const started = await open("stops-reading", { graceMs: 60_000 });
    await firstLine(started);
    const closing = started.close();
    await started.kill();
    await closing;
    expect(await started.exited).toEqual({ code: null, signal: "SIGTERM" });
  });

  it("FLT-30 tells an exit that nobody asked for, and what was said before it", async () => {
    const started = await open("crash-at-start");
    expect(await started.exited).toEqual({ code: 1, signal: null });
    await started.gone;
    expect(started.stderrTail(1000)).toBe("no configuration found");
  });

  it("FLT-30 survives writing to a child that is gone", async () => {
    const started = await open("crash-at-start");
    await started.exited;
    for (let n = 0; n < 10; n += 1) started.stdin.write("x".repeat(100_000));
    await started.close();
    expect(await started.exited).toEqual({ code: 1, signal: null });
  });

  it("FLT-39 a flood of 100 MB on stderr neither blocks the child nor stays", async () => {
    const quiet = captureLog();
    const started = await open("stderr-flood", { log: quiet.log });
    expect(await firstLine(started)).toContain("ready");
    await started.close();
    expect(started.stderrTail(1e9).length).toBeLessThanOrEqual(65_536);
    expect(started.stderrTail(13)).toBe("the last line");
    expect(quiet.text().length).toBeLessThan(1e6);
  });
});
