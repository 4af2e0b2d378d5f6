import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { onTestFinished } from "vitest";
import { type Audit, type AuditOptions, openAudit } from "../../src/audit/audit.ts";
import { rotatedFiles } from "../../src/audit/rotated.ts";
import type { GatewayEvent } from "../../src/events.ts";
import { createLog } from "../../src/log.ts";

/** A directory that is gone after the test. */
export function directory(): string {
  const path = mkdtempSync(join(tmpdir(), "audit-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

export type Opening = Partial<AuditOptions> & { path: string };

/** An audit log, closed after the test. */
export async function open(options: Opening): Promise<Audit> {
  const audit = await openLog(options);
  onTestFinished(() => audit.close());
  return audit;
}

/** An audit log that does not wait. */
export function openLog(options: Opening): Promise<Audit> {
  return openAudit({
    maxBytes: 1024 * 1024,
    files: 0,
    instanceId: "i-0123456789abcdef",
    log: createLog("silent"),
    retryMs: 5,
    lockWaitMs: 0,
    ...options,
  });
}

/** A log whose lines can be read. */
export function spokenLog() {
  const lines: Record<string, unknown>[] = [];
  const out = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  return { log: createLog("info", out), lines };
}

/** Every kind of event that is recorded, each of a session or a caller of its own. */
export function eventsOf(number: number): GatewayEvent[] {
  const named = { session: randomUUID(), caller: `caller-${number}`, key: `k${number}` };
  const address = `10.0.${number >> 8}.${number & 255}`;
  return [
    { type: "session_opened", server: "demo", transport: "sse", address, ...named },
    { type: "session_adopted", where: "other_instance", address, ...named },
    { type: "session_claimed", epoch: 2, ...named },
    { type: "session_handed_over", ...named },
    { type: "session_closed", server: "demo", end: "idle", seconds: 1.5, ...named },
    { type: "credential_refused", reason: "api_key_invalid", shown: "bearer", address },
    { type: "session_foreign", session: named.session, caller: named.caller, address },
    { type: "session_refused", caller: named.caller, reason: "too_many_sessions", address },
    { type: "key_added", caller: named.caller, key: named.key },
    { type: "key_changed", caller: named.caller, key: named.key },
    { type: "key_removed", caller: named.caller, key: named.key },
    { type: "key_expired", caller: named.caller, key: named.key },
    { type: "operator_action", action: "sessions-close", target: named.session, outcome: "done" },
    { type: "store_down", store: `redis-${number}`, kind: "timeout" },
    { type: "store_up", store: `redis-${number}`, kind: "timeout" },
  ];
}

/** An event that can be told from all others by its caller. */
export const numbered = (number: number): GatewayEvent => ({
  type: "session_refused",
  caller: `n${number}`,
  reason: "too_many_sessions",
  address: "10.0.0.1",
});

export type Line = Record<string, unknown> & { event: string; seq: number; hash: string; caller?: string };

/** All files of a log, oldest first. */
export async function filesOf(path: string): Promise<string[]> {
  return [...(await rotatedFiles(path)).map((file) => file.path), path];
}

/** The lines of a log in all its files that are whole. */
export async function linesOf(path: string): Promise<Line[]> {
  return (await filesOf(path)).flatMap((file) =>
    readFileSync(file, "utf8")
      .split("\n")
      .flatMap((line) => {
        try {
          return [JSON.parse(line) as Line];
        } catch {
          return [];
        }
      }),
  );
}

/** Lines that stand for events, not for what the log says of itself. */
export const recordsOf = (lines: readonly Line[]): Line[] =>
  lines.filter(({ event }) => !event.startsWith("audit_"));
