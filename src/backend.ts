import type { StoreConfig } from "./config.ts";
import type { Log } from "./log.ts";
import { guardSessionStore, type GuardedSessionStore } from "./session-store/guard.ts";
import { createMemorySessionStore } from "./session-store/memory.ts";
import { openRedisSessionStore } from "./session-store/redis.ts";
import type { SessionStore } from "./session-store/session-store.ts";
import { openUpstashSessionStore } from "./session-store/upstash.ts";

/** Opens the session store that was chosen. The only place that knows which there are. */
export function openSessionStore(config: StoreConfig, log: Log): GuardedSessionStore {
  const deadlineMs = config.timeoutMs;
  return guardSessionStore(openDriver(config, log), { deadlineMs, log });
}

function openDriver(config: StoreConfig, log: Log): SessionStore {
  const { prefix, timeoutMs: deadlineMs } = config;
  switch (config.kind) {
    case "memory":
      return createMemorySessionStore();
    case "redis":
      return openRedisSessionStore({ url: config.url, prefix, deadlineMs, log });
    case "upstash":
      return openUpstashSessionStore({ url: config.url, token: config.token, prefix, deadlineMs, log });
  }
}
