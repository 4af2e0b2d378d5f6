import { afterEach, describe, expect, it } from "vitest";
import { NO_EVENTS } from "../src/events.ts";
import type { ServerConfig } from "../src/server-config.ts";
import { createServerParts } from "../src/server-parts.ts";
import { expectNoFixtures, fixture } from "./upstream/processes.ts";
import { captureLog, encode, never, Recorder } from "./upstream/recorder.ts";

const SETTINGS = {
  model: "per-session",
  idleSeconds: 300,
  discovery: "translate",
  poolSize: 2,
  maxLineBytes: 1 << 20,
  maxChildren: 4,
  spawnConcurrency: 4,
  startSeconds: 60,
  restarts: 3,
} as const;

describe("a server as it is configured", () => {
  const open: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map((one) => one.close()));
    await expectNoFixtures();
  });

  const { log } = captureLog();

  it("has room for a session, however many calls wait for their clients", async () => {
    const { command, args, env } = fixture("dual-era-server", "legacy");
    const program = { command, args, cwd: undefined, env, secrets: [] };
    const config: ServerConfig = { name: "few", ...SETTINGS, kind: "stdio", ...program };
    const parts = await createServerParts(config, { env: process.env, events: NO_EVENTS, log });
    open.push(parts);
    const _meta = {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientCapabilities": { elicitation: {} },
    };
    for (let n = 0; n < 4; n += 1) {
      const seen = new Recorder();
      const link = await parts.statelessOf(`caller ${n}`).open(seen, never());
      const params = { name: "ask", arguments: { question: "?" }, _meta };
      await link.send(encode({ id: n, method: "tools/call", params }));
      expect((await seen.answer(n)).result).toMatchObject({ resultType: "input_required" });
      await link.close();
    }
    const seen = new Recorder();
    const link = await parts.direct.open(seen, never());
    const clientInfo = { name: "t", version: "1" };
    const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo };
    await link.send(encode({ id: "i", method: "initialize", params }));
    expect((await seen.answer("i")).result).toMatchObject({ serverInfo: { name: "dual-era" } });
  });
});
