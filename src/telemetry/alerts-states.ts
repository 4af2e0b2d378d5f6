/** What an alert is about. The words are stable: they are in log lines, metrics and what a webhook is sent. */
export const ALERT_NAMES = [
  "latency",
  "error_rate",
  "sessions_near_limit",
  "slow_readers",
  "crash_looping",
  "store_down",
  "store_fallback",
  "mirror_divergent",
  "audit_lost",
] as const;
export type AlertName = (typeof ALERT_NAMES)[number];

export interface Alert {
  readonly alert: AlertName;
  /** Name of the MCP server, where it is about one. */
  readonly server?: string;
  /** What was measured when the alert was raised, or cleared. */
  readonly value: number;
  readonly threshold: number;
}

/** What one look found out about one alert. */
export interface Look extends Alert {
  /** Less than this is well again. */
  readonly clearBelow: number;
  /** For how long the value must be as bad as that before the alert is raised. At once when left out. */
  readonly raiseAfterMs?: number;
}

/** An alert is cleared when the value has been well again for so long. */
const CLEAR_AFTER_MS = 60_000;

interface State {
  isRaised: boolean;
  alert: Alert;
  /** Since when every look has found what would change the state. */
  changingSince: number | undefined;
}

/** Which alerts are raised. Each is raised once and cleared once, whatever the values do between. */
export class AlertStates {
  readonly #states = new Map<string, State>();
  readonly #tell: (alert: Alert, state: "raised" | "cleared", now: number) => void;

  constructor(tell: (alert: Alert, state: "raised" | "cleared", now: number) => void) {
    this.#tell = tell;
  }

  active(): readonly Alert[] {
    return [...this.#states.values()].filter((state) => state.isRaised).map((state) => state.alert);
  }

  isRaised(alert: AlertName, server?: string): boolean {
    return this.#states.get(keyOf(alert, server))?.isRaised ?? false;
  }

  see({ clearBelow, raiseAfterMs = 0, ...look }: Look, now: number): void {
    const alert = { ...look, value: Math.round(look.value * 10) / 10 };
    const key = keyOf(alert.alert, alert.server);
    const state = this.#states.get(key) ?? { isRaised: false, alert, changingSince: undefined };
    const isChanging = state.isRaised ? look.value < clearBelow : look.value >= look.threshold;
    state.changingSince = isChanging ? Math.min(state.changingSince ?? now, now) : undefined;
    const afterMs = state.isRaised ? CLEAR_AFTER_MS : raiseAfterMs;
    if (state.changingSince !== undefined && now - state.changingSince >= afterMs) {
      state.isRaised = !state.isRaised;
      state.changingSince = undefined;
      this.#tell(alert, state.isRaised ? "raised" : "cleared", now);
    }
    state.alert = alert;
    if (state.isRaised || state.changingSince !== undefined) this.#states.set(key, state);
    else this.#states.delete(key);
  }
}

const keyOf = (alert: AlertName, server = ""): string => `${alert}:${server}`;
