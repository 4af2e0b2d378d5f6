import type { Audit, AuditOptions } from "./audit/audit.ts";
import type { WatchConfig } from "./config-watch.ts";
import { tellAll, type Calls, type Events } from "./events.ts";
import type { Log } from "./log.ts";
import type { GuardOptions } from "./session-store/guard.ts";
import { ALERT_NAMES } from "./telemetry/alerts-states.ts";
import { createAlerts } from "./telemetry/alerts.ts";
import { watchTogether } from "./telemetry/calls-together.ts";
import type { Scrape } from "./telemetry/metrics.ts";
import type { Readings } from "./telemetry/readings.ts";
import { createTracing } from "./telemetry/tracing.ts";
import { openWebhook } from "./telemetry/webhook.ts";

/** What is read of the gateway while it is watched. */
export interface GatewayReadings extends Pick<Readings, "sessions" | "streams" | "servers" | "store"> {
  /** All that are open. Alerts look each second, and `sessions` at every session. */
  sessionCount(): number;
  maxSessions(): number;
}

/** Everything that watches the gateway: the audit log, the metrics, the traces and the alerts. */
export interface Watching {
  /** To be told of what happens now and then. */
  readonly events: Events;
  /** To be shown every call. */
  readonly calls: Calls | undefined;
  /** To be told of every call of the session store. */
  readonly onStoreCall: GuardOptions["onCall"];
  /** All metrics. Undefined when they are off. */
  readonly scrape: (() => Promise<Scrape>) | undefined;
  /** From now on the gateway can be read. */
  observe(readings: GatewayReadings): void;
  /** Does what is due; to be called about once a second. */
  beat(): void;
  /** The audit file was set aside by somebody: a new one is begun. Never rejects. */
  reopen(): Promise<void>;
  /** Writes what waits. Safe to call twice. */
  close(): Promise<void>;
}

export interface WatchingPlace {
  instanceId: string;
  version: string;
  /** Node's. */
  node: string;
  log: Log;
}

/** Before the gateway is built there is nothing to be read of it. */
const NOTHING: GatewayReadings = {
  sessionCount: () => 0,
  maxSessions: () => 0,
  sessions: () => ({ open: 0, orphan: 0, limit: 0 }),
  streams: () => 0,
  servers: () => [],
  store: () => ({ kind: "memory", breaker: "closed" }),
};

/** Opens what is configured to watch the gateway. Rejects with a ConfigError when the audit file cannot be had. */
export async function openWatching(config: WatchConfig, place: WatchingPlace): Promise<Watching> {
  const { instanceId, version, node, log } = place;
  let gateway = NOTHING;
  const audit = config.audit && (await openAudit({ ...config.audit, instanceId, log }));
  const lost = (): number => audit?.lost ?? 0;
  const alerts = createAlerts({
    thresholds: config.alerts,
    readings: {
      sessions: () => gateway.sessionCount(),
      maxSessions: () => gateway.maxSessions(),
      storeDown: () => isDown(gateway.store()),
      fallback: () => gateway.store().isFallback === true,
      mirrorDivergent: () => gateway.store().mirror?.divergent,
      auditLost: lost,
    },
    webhook: config.webhook && openWebhook({ ...config.webhook, log }),
    instanceId,
    log,
    now: Date.now,
  });
  const isActive = (name: string): boolean => alerts.active().some(({ alert }) => alert === name);
  const readings: Readings = {
    sessions: () => gateway.sessions(),
    streams: () => gateway.streams(),
    servers: () => gateway.servers(),
    store: () => gateway.store(),
    alerts: () => ALERT_NAMES.map((name) => ({ name, isActive: isActive(name) })),
    audit: () => audit && { records: audit.written, lost: audit.lost },
  };
  // Prometheus' client costs 30 ms at start and some megabytes.
  const { createMetrics } = config.hasMetrics ? await import("./telemetry/metrics.ts") : {};
  const metrics = createMetrics?.({ version, node, instanceId, readings });
  const { latencyMs, errorPercent } = config.alerts;
  const calls = [createTracing({ version })];
  // Nobody needs to time a call for alerts that are off.
  if (latencyMs > 0 || errorPercent > 0) calls.unshift(alerts.calls);
  if (metrics !== undefined) calls.unshift(metrics.calls);
  const listeners = [audit?.events, metrics?.events, alerts.events];
  return {
    events: tellAll(listeners.filter((listener) => listener !== undefined)),
    calls: watchTogether(calls),
    onStoreCall: metrics && ((verb, seconds, failure) => metrics.storeCall(verb, seconds, failure)),
    scrape: metrics && (() => metrics.scrape()),
    observe: (read) => void (gateway = read),
    beat: () => alerts.beat(Date.now()),
    reopen: async () => audit?.reopen(),
    close: async () => {
      await alerts.close();
      await audit?.close();
      metrics?.close();
    },
  };
}

async function openAudit(options: AuditOptions): Promise<Audit> {
  const audit = await import("./audit/audit.ts");
  return audit.openAudit(options);
}

/** A store that is hardly used is away for long before its breaker opens; the lease is renewed every 30 s. */
const LEASE_OVERDUE_SECONDS = 40;

const isDown = ({ breaker, leaseAgeSeconds = 0 }: ReturnType<GatewayReadings["store"]>): boolean =>
  breaker !== "closed" || leaseAgeSeconds > LEASE_OVERDUE_SECONDS;
