import { ConfigError, GatewayError } from "./errors.ts";
import type { Log } from "./log.ts";
import type { SessionStore } from "./session-store/session-store.ts";
import type { StoreFailure } from "./session-store/store-failure.ts";

/** Says what the users' documents promise, and stops a start with credentials that cannot work. */
export async function greetStore(store: SessionStore, log: Log): Promise<void> {
  if (store.kind === "memory") {
    log.warn("⚠️  Redis not configured, falling back to in-memory sessions");
    log.info("Redis Sessions: DISABLED (in-memory)");
    return;
  }
  if (store.kind === "file") {
    log.info("Redis Sessions: DISABLED (file)");
    return;
  }
  try {
    await store.ready();
    // A read-only token would pass until the first session.
    await store.removeLease("none");
    log.info({ store: store.kind }, "✓ Redis session manager initialized");
  } catch (error) {
    const isRefused =
      error instanceof GatewayError && (error.cause as StoreFailure | undefined)?.kind === "credentials";
    if (error instanceof ConfigError || isRefused) {
      throw isRefused
        ? new ConfigError([
            `The ${store.kind} store refuses to be written to. Use credentials that may write, not read-only ones.`,
          ])
        : error;
    }
    log.warn(
      { err: error, store: store.kind },
      "session store cannot be reached yet: starting without, and trying on",
    );
  }
  log.info("Redis Sessions: ENABLED");
}
