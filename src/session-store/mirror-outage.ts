import type { GuardedSessionStore } from "./guard.ts";
import { toFailure } from "./store-failure.ts";

/** Whether the primary is away, as the verbs that go to it find. */
export interface Outage {
  readonly isOn: boolean;
  succeeded(): void;
  /** Notes what a verb rejected with. True when the primary is down. */
  failed(error: unknown): boolean;
}

/** Whether a verb rejected with this because its store is down: it cannot be reached, or has no quota left. */
export function isDown(error: unknown): boolean {
  const { kind } = toFailure(error);
  return kind === "unreachable" || kind === "quota";
}

/** @param onEnd is called when the primary serves again after it was away. */
export function createOutage(primary: GuardedSessionStore, onEnd: () => void): Outage {
  let isOn = false;
  return {
    get isOn() {
      return isOn;
    },
    succeeded() {
      if (!isOn) return;
      isOn = false;
      onEnd();
    },
    failed(error) {
      if (!isDown(error)) return false;
      // One slow answer is no outage; a lost connection may mean that it began anew, and empty.
      if (toFailure(error).code !== "TIMEOUT" || primary.state() !== "closed") isOn = true;
      return true;
    },
  };
}
