import { FAULTS, type Reason } from "../errors.ts";
import type { CallEnd, CallInFlight, Calls, Events } from "../events.ts";
import type { Log } from "../log.ts";
import { type Alert, AlertStates, type Look } from "./alerts-states.ts";
import { RecentCounts, RecentLatencies } from "./alerts-windows.ts";
import type { Webhook } from "./webhook.ts";

/** Where alerts begin. 0: there is no such alert. */
export interface AlertThresholds {
  /** What 95 of 100 calls may take at most. */
  latencyMs: number;
  /** Share of calls that the gateway or the server's transport failed. */
  errorPercent: number;
  /** Share of `maxSessions` that is open. */
  sessionsPercent: number;
  /** Clients that were cut within five minutes because they did not read. */
  slowReaders: number;
  /** How often one server was started again within five minutes. */
  serverRestarts: number;
}

/** What is read at each beat. */
export interface AlertReadings {
  sessions(): number;
  /** 0 when there is no limit. */
  maxSessions(): number;
  storeDown(): boolean;
  /** Whether the fallback bridges the store. */
  fallback(): boolean;
  /** Records that the mirror has otherwise than the store; undefined when there is no mirror, or nobody knows. */
  mirrorDivergent(): number | undefined;
  /** Audit lines that could not be written since the start. */
  auditLost(): number;
}

export interface AlertsOptions {
  thresholds: AlertThresholds;
  readings: AlertReadings;
  webhook?: Webhook | undefined;
  instanceId: string;
  log: Log;
  /** Milliseconds since 1970; the clock of `beat`. */
  now: () => number;
}

export interface Alerts {
  events: Events;
  calls: Calls;
  /** Looks at everything once. To be called every few seconds. */
  beat(now: number): void;
  /** The alerts that are raised. */
  active(): readonly Alert[];
  /** Looks no more and closes the webhook. An alert that is raised stays so: nothing is well because one does not look. */
  close(): Promise<void>;
}

/** Of fewer calls a share says nothing. */
const MIN_CALLS = 20;
/** A share or a time is well again below this part of its threshold. */
const WELL = 0.8;
/** A mirror lags behind for a moment, now and then, without harm. */
const DIVERGENT_AFTER_MS = 60_000;
/** Servers come and go with the configuration; more of them are not watched at once. */
const MAX_SERVERS = 1000;
/** This one stays open for as long as its client listens. */
const LISTEN = "subscriptions/listen";

const CALLS = 0;
const FAILED = 1;

/** Watches calls, events and readings, and tells when a threshold is passed and when all is well again. */
export function createAlerts({ thresholds, readings, webhook, instanceId, log, now }: AlertsOptions): Alerts {
  const begunAt = now();
  const latencies = thresholds.latencyMs > 0 ? new RecentLatencies(thresholds.latencyMs, begunAt) : undefined;
  const outcomes = new RecentCounts(2, begunAt);
  const slowReaders = new RecentCounts(1, begunAt);
  const auditLost = new RecentCounts(1, begunAt);
  const restarts = new Map<string, RecentCounts>();
  let auditLostBefore = readings.auditLost();
  let isClosed = false;

  const states = new AlertStates((alert, state, at) => {
    const line = { event: `alert_${state}`, ...alert };
    if (state === "raised") log.warn(line, `Alert: ${alert.alert}`);
    else log.info(line, `Alert over: ${alert.alert}`);
    webhook?.send({ ...alert, state, instance: instanceId, at: new Date(at).toISOString() });
  });

  function ended(method: string, ms: number, outcome: CallEnd): void {
    outcomes.add(CALLS);
    if (isGatewayFailure(outcome)) outcomes.add(FAILED);
    if (method !== LISTEN) latencies?.add(ms);
  }

  function* looks(at: number): Generator<Look> {
    if (latencies !== undefined) {
      const { ms, calls } = latencies.p95();
      yield share("latency", calls < MIN_CALLS ? 0 : ms, thresholds.latencyMs);
    }
    if (thresholds.errorPercent > 0) {
      const calls = outcomes.sum(CALLS);
      const percent = calls < MIN_CALLS ? 0 : (100 * outcomes.sum(FAILED)) / calls;
      yield share("error_rate", percent, thresholds.errorPercent);
    }
    const limit = readings.maxSessions();
    if (thresholds.sessionsPercent > 0 && limit > 0) {
      const percent = (100 * readings.sessions()) / limit;
      yield share("sessions_near_limit", percent, thresholds.sessionsPercent);
    }
    if (thresholds.slowReaders > 0) yield share("slow_readers", slowReaders.sum(0), thresholds.slowReaders);
    yield* restartLooks(at);
    yield isSo("store_down", Number(readings.storeDown()));
    yield isSo("store_fallback", Number(readings.fallback()));
    yield { ...isSo("mirror_divergent", readings.mirrorDivergent() ?? 0), raiseAfterMs: DIVERGENT_AFTER_MS };
    yield isSo("audit_lost", auditLost.sum(0));
  }

  function* restartLooks(at: number): Generator<Look> {
    for (const [server, counts] of restarts) {
      counts.advance(at);
      const value = counts.sum(0);
      yield { alert: "crash_looping", server, value, threshold: thresholds.serverRestarts, clearBelow: 1 };
      if (value === 0 && !states.isRaised("crash_looping", server)) restarts.delete(server);
    }
  }

  return {
    events: {
      emit(event) {
        if (event.type === "stream_closed" && event.end === "slow_reader") slowReaders.add(0);
        if (event.type !== "server_restarted" || thresholds.serverRestarts === 0) return;
        let counts = restarts.get(event.server);
        if (counts === undefined) {
          if (restarts.size >= MAX_SERVERS) return;
          restarts.set(event.server, (counts = new RecentCounts(1, now())));
        }
        counts.add(0);
      },
    },
    calls: {
      begin: ({ method, message }) => new TimedCall(message, method, now(), ended, now),
    },
    beat(at) {
      if (isClosed) return;
      for (const counts of [latencies, outcomes, slowReaders, auditLost]) counts?.advance(at);
      const lost = readings.auditLost();
      auditLost.add(0, Math.max(0, lost - auditLostBefore));
      auditLostBefore = lost;
      for (const look of looks(at)) states.see(look, at);
    },
    active: () => states.active(),
    async close() {
      isClosed = true;
      await webhook?.close();
    },
  };
}

class TimedCall implements CallInFlight {
  readonly message: Buffer;
  readonly #method: string;
  readonly #begunAt: number;
  readonly #ended: (method: string, ms: number, outcome: CallEnd) => void;
  readonly #now: () => number;

  constructor(
    message: Buffer,
    method: string,
    begunAt: number,
    ended: (method: string, ms: number, outcome: CallEnd) => void,
    now: () => number,
  ) {
    this.message = message;
    this.#method = method;
    this.#begunAt = begunAt;
    this.#ended = ended;
    this.#now = now;
  }

  end(outcome: CallEnd): void {
    this.#ended(this.#method, this.#now() - this.#begunAt, outcome);
  }
}

/** Faults of the client's are none of the gateway's, and a server's own error is an answer. */
function isGatewayFailure({ answer, failed, reason }: CallEnd): boolean {
  if (reason === undefined) return failed && answer === undefined;
  if (reason === "cancelled") return false;
  return !Object.hasOwn(FAULTS, reason) || FAULTS[reason as Reason].status >= 500;
}

const share = (alert: Look["alert"], value: number, threshold: number): Look => ({
  alert,
  value,
  threshold,
  clearBelow: threshold * WELL,
});

const isSo = (alert: Look["alert"], value: number): Look => ({ alert, value, threshold: 1, clearBelow: 1 });
