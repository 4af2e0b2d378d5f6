import type { ServerResponse } from "node:http";
import type { Sessions } from "../session/sessions.ts";
import { answerJson } from "./answer.ts";
import type { Route } from "./routes.ts";
import { statusOf, type StoreHealth } from "./store-health.ts";

/** `/health` and `/health/live`: the process is there. Not more: a store that is away must not get it restarted. */
export function answerLive(res: ServerResponse): void {
  answerJson(res, 200, { status: "ok" });
}

/**
 * `/health/ready`: new clients are welcome. Tells which part is not, and nothing of why. `degraded`: they are, though
 * something that should stand behind the session store does not.
 */
export function createReady(sessions: Sessions, readHealth: () => Promise<StoreHealth>): Route {
  return async (_req, res) => {
    const store = statusOf(await readHealth());
    const isReady = store !== "unavailable" && !sessions.isDraining;
    const status = sessions.isDraining ? "draining" : store;
    const headers: Record<string, string> = isReady ? {} : { "Retry-After": "2" };
    answerJson(res, isReady ? 200 : 503, { status, store, sessions: sessions.count }, headers);
  };
}
