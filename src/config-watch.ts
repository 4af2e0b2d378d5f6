import type { Settings } from "./settings.ts";
import type { AlertThresholds } from "./telemetry/alerts.ts";

/** What watches the gateway. */
export interface WatchConfig {
  /** Whether metrics are counted. */
  hasMetrics: boolean;
  /** A port of their own for metrics, without a key. */
  metricsPort: number | undefined;
  metricsHost: string | undefined;
  /** What opens them on the main port. */
  metricsToken: string | undefined;
  audit: { path: string; maxBytes: number; files: number } | undefined;
  alerts: AlertThresholds;
  webhook: { url: string; secret: string | undefined } | undefined;
}

export function watchConfig(values: Settings): WatchConfig {
  const { METRICS_PORT: metricsPort, METRICS_TOKEN: metricsToken, AUDIT_LOG: path } = values;
  const { ALERT_WEBHOOK_URL: url, ALERT_WEBHOOK_SECRET: secret } = values;
  return {
    hasMetrics: metricsPort !== undefined || metricsToken !== undefined,
    metricsPort,
    metricsHost: values.METRICS_HOST ?? values.HOST,
    metricsToken,
    audit:
      path === undefined
        ? undefined
        : { path, maxBytes: values.AUDIT_LOG_MAX_BYTES, files: values.AUDIT_LOG_FILES },
    alerts: {
      latencyMs: values.ALERT_LATENCY_MS,
      errorPercent: values.ALERT_ERROR_PERCENT,
      sessionsPercent: values.ALERT_SESSIONS_PERCENT,
      slowReaders: values.ALERT_SLOW_READERS,
      serverRestarts: values.ALERT_SERVER_RESTARTS,
    },
    webhook: url === undefined ? undefined : { url, secret },
  };
}

/** Adds what makes no sense together. */
export function checkWatching(values: Settings, problems: string[]): void {
  if (values.METRICS_PORT !== undefined && values.METRICS_PORT === values.PORT)
    problems.push("METRICS_PORT must not be PORT. To have both on one port, set METRICS_TOKEN instead.");
  if (values.ALERT_WEBHOOK_SECRET !== undefined && values.ALERT_WEBHOOK_URL === undefined)
    problems.push("ALERT_WEBHOOK_SECRET is set without ALERT_WEBHOOK_URL.");
}
