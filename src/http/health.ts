import type { ServerResponse } from "node:http";
import type { Sessions } from "../session/sessions.ts";
import { answerJson } from "./answer.ts";
import type { Route } from "./routes.ts";

/** How long an answer of the store is believed: probes need no key, and must not become a load on it. */
const BELIEVED_MS = 1000;

/** `/health` and `/health/live`: the process is there. Not more: a store that is away must not get it restarted. */
export function answerLive(res: ServerResponse): void {
  answerJson(res, 200, { status: "ok" });
}

/**
 * `/health/ready`: new clients are welcome. Tells which part is not, and nothing of why. `storeReady` resolves when the
 * session store can serve.
 */
export function createReady(sessions: Sessions, storeReady: () => Promise<void>): Route {
  let askedAt = -Infinity;
  let asked: Promise<"ok" | "unavailable"> | undefined;

  return async (_req, res) => {
    const now = performance.now();
    if (asked === undefined || now - askedAt >= BELIEVED_MS) {
      askedAt = now;
      asked = storeReady().then(
        () => "ok",
        () => "unavailable",
      );
    }
    const store = await asked;
    const isReady = store === "ok" && !sessions.isDraining;
    const status = sessions.isDraining ? "draining" : store;
    const headers: Record<string, string> = isReady ? {} : { "Retry-After": "2" };
    answerJson(res, isReady ? 200 : 503, { status, store, sessions: sessions.count }, headers);
  };
}
