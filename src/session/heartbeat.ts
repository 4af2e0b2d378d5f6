/** Something of an instance that has things to do now and then. */
interface Beating {
  /** Does what is due. Never throws or rejects. */
  beat(now: number): void | Promise<void>;
}

/** How often everything is looked at. Each stream is pinged when its own time has come, so that they do not all go at once. */
const BEAT_MS = 1000;

/** Starts the one timer of an instance: nothing else ticks for a session. Answers a function that stops it. */
export function startHeartbeat(parts: readonly Beating[]): () => void {
  const beat = () => parts.forEach((part) => void part.beat(performance.now()));
  beat();
  const timer = setInterval(beat, BEAT_MS);
  return () => clearInterval(timer);
}
