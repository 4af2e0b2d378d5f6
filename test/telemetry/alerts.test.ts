import { beforeEach, describe, expect, it } from "vitest";
import type { CallEnd } from "../../src/events.ts";
import { createLog } from "../../src/log.ts";
import { type Alerts, type AlertThresholds, createAlerts } from "../../src/telemetry/alerts.ts";
import type { Notice } from "../../src/telemetry/webhook.ts";

const MINUTE = 60_000;
const OK: CallEnd = { failed: false, answer: Buffer.from("{}") };
const START = Date.parse("2026-01-02T03:04:05Z");

let now: number;
let lines: Record<string, unknown>[];
let sent: Notice[];
let readings: {
  sessions: number;
  storeDown: boolean;
  fallback: boolean;
  divergent: number | undefined;
  auditLost: number;
};

beforeEach(() => {
  now = START;
  lines = [];
  sent = [];
  readings = { sessions: 0, storeDown: false, fallback: false, divergent: undefined, auditLost: 0 };
});

const OFF: AlertThresholds = {
  latencyMs: 0,
  errorPercent: 0,
  sessionsPercent: 0,
  slowReaders: 0,
  serverRestarts: 0,
};

function watch(thresholds: Partial<AlertThresholds>, maxSessions = 10): Alerts {
  const out = { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) > 0 };
  return createAlerts({
    thresholds: { ...OFF, ...thresholds },
    readings: {
      sessions: () => readings.sessions,
      maxSessions: () => maxSessions,
      storeDown: () => readings.storeDown,
      fallback: () => readings.fallback,
      mirrorDivergent: () => readings.divergent,
      auditLost: () => readings.auditLost,
    },
    webhook: { send: (notice) => sent.push(notice), close: async () => undefined },
    instanceId: "i-1",
    log: createLog("info", out as unknown as NodeJS.WritableStream),
    now: () => now,
  });
}

function calls(alerts: Alerts, count: number, ms: number, end: CallEnd = OK, method = "tools/call"): void {
  const message = Buffer.from("{}");
  for (let call = 0; call < count; call += 1) {
    const started = now;
    const flight = alerts.calls.begin({
      server: "s",
      method,
      message,
      id: "1",
      session: undefined,
      transport: "sse",
    });
    expect(flight?.message).toBe(message);
    now += ms;
    flight?.end(end);
    now = started;
  }
}

/** Time goes on, with a look every five seconds. */
function pass(alerts: Alerts, ms: number): void {
  for (const end = now + ms; now < end;) {
    now += 5000;
    alerts.beat(now);
  }
}

const look = (alerts: Alerts) => {
  alerts.beat(now);
  return alerts.active();
};
const told = () => lines.map(({ event, alert }) => `${String(event)} ${String(alert)}`);

describe("an alert", () => {
  it("is raised once and cleared once: a line, a notice, and on the list between", () => {
    const alerts = watch({});
    expect(look(alerts)).toEqual([]);
    readings.storeDown = true;
    expect(look(alerts)).toEqual([{ alert: "store_down", value: 1, threshold: 1 }]);
    pass(alerts, 10 * MINUTE);
    readings.storeDown = false;
    pass(alerts, 10 * MINUTE);
    expect(alerts.active()).toEqual([]);
    expect(lines).toMatchObject([
      { level: "warn", event: "alert_raised", alert: "store_down", value: 1, threshold: 1 },
      { level: "info", event: "alert_cleared", alert: "store_down", value: 0, threshold: 1 },
    ]);
    expect(sent).toEqual([
      {
        alert: "store_down",
        state: "raised",
        value: 1,
        threshold: 1,
        instance: "i-1",
        at: "2026-01-02T03:04:05.000Z",
      },
      {
        alert: "store_down",
        state: "cleared",
        value: 0,
        threshold: 1,
        instance: "i-1",
        at: "2026-01-02T03:15:10.000Z",
      },
    ]);
  });

  it("does not flap with what it watches", () => {
    const alerts = watch({});
    for (let turn = 0; turn < 100; turn += 1) {
      readings.storeDown = turn % 2 === 0;
      pass(alerts, 30_000);
    }
    expect(told()).toEqual(["alert_raised store_down"]);
  });

  it("stays while the value is between 80 % of the threshold and the threshold", () => {
    const alerts = watch({ sessionsPercent: 50 }, 100);
    readings.sessions = 49;
    expect(look(alerts)).toEqual([]);
    readings.sessions = 50;
    expect(look(alerts)).toMatchObject([{ alert: "sessions_near_limit", value: 50, threshold: 50 }]);
    readings.sessions = 40;
    pass(alerts, 10 * MINUTE);
    expect(alerts.active()).toHaveLength(1);
    readings.sessions = 39;
    pass(alerts, MINUTE);
    expect(alerts.active()).toHaveLength(1);
    pass(alerts, 5000);
    expect(alerts.active()).toEqual([]);
  });

  it("is told again after it was cleared", () => {
    const alerts = watch({});
    for (const isDown of [true, false, true]) {
      readings.storeDown = isDown;
      pass(alerts, 2 * MINUTE);
    }
    expect(told()).toEqual([
      "alert_raised store_down",
      "alert_cleared store_down",
      "alert_raised store_down",
    ]);
  });

  it("is none where the threshold is 0, or nothing is limited", () => {
    const alerts = watch({});
    readings.sessions = 1000;
    calls(alerts, 100, 60_000, { failed: true, reason: "upstream_exited" });
    for (let event = 0; event < 100; event += 1) {
      alerts.events.emit({ type: "server_restarted", server: "s", why: "exit" });
      alerts.events.emit({ type: "stream_closed", transport: "sse", end: "slow_reader" });
    }
    expect(look(alerts)).toEqual([]);
    const unlimited = watch({ sessionsPercent: 80 }, 0);
    expect(look(unlimited)).toEqual([]);
  });

  it("is told no more after the close", async () => {
    const alerts = watch({});
    await alerts.close();
    readings.storeDown = true;
    expect(look(alerts)).toEqual([]);
    await alerts.close();
  });

  it("outlives a clock that is set back", () => {
    const alerts = watch({ latencyMs: 250 });
    calls(alerts, 50, 1000);
    readings.storeDown = true;
    pass(alerts, 5000);
    readings.storeDown = false;
    pass(alerts, 5000);
    now -= 60 * MINUTE;
    pass(alerts, 2 * MINUTE);
    expect(alerts.active()).toMatchObject([{ alert: "latency" }]);
    pass(alerts, 5 * MINUTE);
    expect(alerts.active()).toEqual([]);
  });
});

describe("latency", () => {
  it("is that of the 95th of 100 calls, of 20 at least", () => {
    const alerts = watch({ latencyMs: 250 });
    calls(alerts, 19, 250);
    expect(look(alerts)).toEqual([]);
    calls(alerts, 1, 250);
    expect(look(alerts)).toEqual([{ alert: "latency", value: 250, threshold: 250 }]);
  });

  it("is well while 5 of 100 calls are slow", () => {
    const alerts = watch({ latencyMs: 250 });
    calls(alerts, 95, 249);
    calls(alerts, 5, 60_000);
    expect(look(alerts)).toEqual([]);
    calls(alerts, 1, 60_000);
    expect(look(alerts)).toMatchObject([{ alert: "latency" }]);
  });

  it.each([1, 30, 251, 1000, 7999])("tells %i ms within 6 %", (ms) => {
    const alerts = watch({ latencyMs: 250 });
    readings.storeDown = true;
    calls(alerts, 50, ms);
    const value = look(alerts).find(({ alert }) => alert === "latency")?.value;
    if (ms < 250) expect(value).toBeUndefined();
    else expect(Math.abs(1 - (value as number) / ms)).toBeLessThan(0.06);
  });

  it("forgets after five minutes", () => {
    const alerts = watch({ latencyMs: 250 });
    calls(alerts, 50, 1000);
    expect(look(alerts)).toHaveLength(1);
    pass(alerts, 5 * MINUTE);
    expect(alerts.active()).toHaveLength(1);
    pass(alerts, 2 * MINUTE);
    expect(alerts.active()).toEqual([]);
  });

  it("is well again in the midst of calls when the slow ones have gone by", () => {
    const alerts = watch({ latencyMs: 250 });
    calls(alerts, 10, 1000);
    for (let minute = 0; minute < 7; minute += 1) {
      calls(alerts, 30, 10);
      pass(alerts, MINUTE);
    }
    expect(told()).toEqual(["alert_raised latency", "alert_cleared latency"]);
  });

  it("is not that of a stream that stays open", () => {
    const alerts = watch({ latencyMs: 250 });
    calls(alerts, 50, 100_000, OK, "subscriptions/listen");
    expect(look(alerts)).toEqual([]);
  });
});

describe("error_rate", () => {
  const FAILURES: CallEnd[] = [
    { failed: true, reason: "upstream_exited" },
    { failed: true, reason: "not_in_the_table" },
    { failed: true },
  ];
  const NONE: CallEnd[] = [
    { failed: true, answer: Buffer.from('{"error":{}}') },
    { failed: false, reason: "cancelled" },
    { failed: true, reason: "tool_not_allowed" },
    { failed: true, reason: "too_many_in_flight" },
  ];

  it.each(FAILURES)("counts %j", (end) => {
    const alerts = watch({ errorPercent: 5 });
    calls(alerts, 96, 1);
    calls(alerts, 4, 1, end);
    expect(look(alerts)).toEqual([]);
    calls(alerts, 2, 1, end);
    expect(look(alerts)).toEqual([{ alert: "error_rate", value: 5.9, threshold: 5 }]);
  });

  it.each(NONE)("does not count %j", (end) => {
    const alerts = watch({ errorPercent: 5 });
    calls(alerts, 100, 1, end);
    expect(look(alerts)).toEqual([]);
  });

  it("is of 20 calls at least", () => {
    const alerts = watch({ errorPercent: 5 });
    calls(alerts, 19, 1, FAILURES[0]);
    expect(look(alerts)).toEqual([]);
    calls(alerts, 1, 1);
    expect(look(alerts)).toMatchObject([{ value: 95 }]);
  });
});

describe("what happens now and then", () => {
  it("slow_readers counts clients that were cut within five minutes", () => {
    const alerts = watch({ slowReaders: 3 });
    const cut = () => alerts.events.emit({ type: "stream_closed", transport: "sse", end: "slow_reader" });
    for (let turn = 0; turn < 5; turn += 1) {
      cut();
      pass(alerts, 3 * MINUTE);
      alerts.events.emit({ type: "stream_closed", transport: "sse", end: "client" });
    }
    expect(alerts.active()).toEqual([]);
    cut();
    cut();
    expect(look(alerts)).toEqual([{ alert: "slow_readers", value: 3, threshold: 3 }]);
  });

  it("crash_looping is of one server, until it has not been started again for five minutes", () => {
    const alerts = watch({ serverRestarts: 3 });
    const restart = (server: string) => alerts.events.emit({ type: "server_restarted", server, why: "exit" });
    for (const server of ["a", "b", "a", "b", "a"]) restart(server);
    expect(look(alerts)).toEqual([{ alert: "crash_looping", server: "a", value: 3, threshold: 3 }]);
    for (let minute = 0; minute < 20; minute += 4) {
      restart("a");
      pass(alerts, 4 * MINUTE);
    }
    expect(alerts.active()).toHaveLength(1);
    pass(alerts, 3 * MINUTE);
    expect(lines).toMatchObject([
      { event: "alert_raised", server: "a", value: 3 },
      { event: "alert_cleared", server: "a", value: 0 },
    ]);
    expect(sent.map(({ server }) => server)).toEqual(["a", "a"]);
  });

  it("crash_looping watches as many servers as it can, and new ones when others are well", () => {
    const alerts = watch({ serverRestarts: 1 });
    const restart = (server: string) => alerts.events.emit({ type: "server_restarted", server, why: "exit" });
    for (let server = 0; server < 3000; server += 1) restart(`s-${server}`);
    expect(look(alerts)).toHaveLength(1000);
    pass(alerts, 7 * MINUTE);
    expect(alerts.active()).toEqual([]);
    restart("new");
    expect(look(alerts)).toMatchObject([{ server: "new" }]);
  });

  it("audit_lost is raised by lines that are lost, not by those lost before", () => {
    readings.auditLost = 7;
    const alerts = watch({});
    expect(look(alerts)).toEqual([]);
    readings.auditLost = 9;
    expect(look(alerts)).toEqual([{ alert: "audit_lost", value: 2, threshold: 1 }]);
    pass(alerts, 7 * MINUTE);
    expect(told()).toEqual(["alert_raised audit_lost", "alert_cleared audit_lost"]);
  });

  it("store_fallback lasts as long as the store is bridged", () => {
    const alerts = watch({});
    readings.fallback = true;
    expect(look(alerts)).toMatchObject([{ alert: "store_fallback" }]);
  });

  it("mirror_divergent is raised when it has lasted a minute", () => {
    const alerts = watch({});
    readings.divergent = 5;
    pass(alerts, 55_000);
    readings.divergent = 0;
    pass(alerts, 5000);
    readings.divergent = 4;
    pass(alerts, MINUTE);
    expect(alerts.active()).toEqual([]);
    pass(alerts, 5000);
    expect(alerts.active()).toEqual([{ alert: "mirror_divergent", value: 4, threshold: 1 }]);
  });
});
