import type { Sessions } from "./sessions.ts";

/** How often the sessions are looked at. Each stream is pinged when its own time has come, so that they do not all go at once. */
const BEAT_MS = 1000;

/** Starts the one timer of an instance: nothing else ticks for a session. Answers a function that stops it. */
export function startHeartbeat(sessions: Sessions): () => void {
  void sessions.beat();
  const timer = setInterval(() => void sessions.beat(), BEAT_MS);
  return () => clearInterval(timer);
}
