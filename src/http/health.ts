import type { ServerResponse } from "node:http";
import type { Sessions } from "../session/sessions.ts";
import { answerJson } from "./answer.ts";

export interface HealthParts {
  sessions: Sessions;
  /** Resolves when the session store can serve. */
  storeReady: () => Promise<void>;
}

/** `/health` and `/health/live`: the process is there. Not more: a store that is away must not get it restarted. */
export function answerLive(res: ServerResponse): void {
  answerJson(res, 200, { status: "ok" });
}

/** `/health/ready`: new clients are welcome. Tells which part is not, and nothing of why. */
export async function answerReady(res: ServerResponse, { sessions, storeReady }: HealthParts): Promise<void> {
  const store = await storeReady().then(
    () => "ok",
    () => "unavailable",
  );
  const isReady = store === "ok" && !sessions.isDraining;
  const status = sessions.isDraining ? "draining" : isReady ? "ok" : "unavailable";
  answerJson(
    res,
    isReady ? 200 : 503,
    { status, store, sessions: sessions.count },
    isReady ? {} : { "Retry-After": "2" },
  );
}
