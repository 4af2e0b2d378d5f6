/** From this on others may have taken us for dead. */
const LAPSE_MS = 1000;
const TICK_MS = 500;

/** Knows since when this instance hears nothing. */
export interface LapseWatch {
  /** It has been deaf since then, by `performance.now()`; now by default. */
  deaf(since?: number): void;
  /** It hears again. Tells of the lapse, if it was one. */
  hears(): void;
  close(): void;
}

/** Calls `onLapse` after each time in which nothing could reach this instance, be it by the network or by a frozen process. */
export function watchLapses(onLapse: () => void): LapseWatch {
  let deafSince: number | undefined;
  let tickedAt = performance.now();
  const ticking = setInterval(() => {
    const wasStill = performance.now() - tickedAt - TICK_MS >= LAPSE_MS;
    tickedAt = performance.now();
    if (wasStill && deafSince === undefined) onLapse();
  }, TICK_MS).unref();

  return {
    deaf: (since = performance.now()) => void (deafSince ??= since),
    hears: () => {
      const wasLapse = deafSince !== undefined && performance.now() - deafSince >= LAPSE_MS;
      deafSince = undefined;
      if (wasLapse) onLapse();
    },
    close: () => clearInterval(ticking),
  };
}
