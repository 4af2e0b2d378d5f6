import type { RelayConfig, StoreConfig } from "./config.ts";
import { ConfigError } from "./errors.ts";
import type { Log } from "./log.ts";
import { findAddress } from "./relay/address.ts";
import { createRelayKey } from "./relay/envelope.ts";
import { openHttpRelay, type HttpRelay } from "./relay/http.ts";
import { openRedisRelay } from "./relay/redis.ts";
import type { Relay, RelayEvents } from "./relay/relay.ts";
import { openUpstashRelay } from "./relay/upstash.ts";
import { guardSessionStore, type GuardedSessionStore } from "./session-store/guard.ts";
import { createMemorySessionStore } from "./session-store/memory.ts";
import { readRedisUrl } from "./session-store/redis-url.ts";
import { openRedisSessionStore, redisOptions } from "./session-store/redis.ts";
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

export interface RelayPlace {
  instanceId: string;
  host: string | undefined;
  port: number;
  events: RelayEvents;
  /** The door hands what other instances post to this, from the moment it is called. */
  mount(receive: HttpRelay["receive"]): void;
  log: Log;
}

/**
 * Opens the relay that was chosen. With `auto` instances call each other directly where this one has an address that
 * leads to it, else through the store. Rejects with a ConfigError when the driver that was asked for cannot be had.
 */
export async function openRelay(relay: RelayConfig, store: StoreConfig, place: RelayPlace): Promise<Relay> {
  const { instanceId, host, port, events, mount, log } = place;
  const common = { instanceId, key: createRelayKey(relay.secrets), events, log };
  if (relay.driver === "auto" || relay.driver === "http") {
    const { url, privateDomain, allowedHosts: allow } = relay;
    const address = await findAddress({ url, host, port, privateDomain });
    // A local address says nothing about other machines, so it is used only when asked for.
    const isMeant =
      address !== undefined && (relay.driver === "http" || url !== undefined || !isLocal(address));
    if (isMeant) {
      const http = openHttpRelay({ ...common, address, allow });
      mount((header, readBody) => http.receive(header, readBody));
      if (await http.prove()) return http;
      await http.close();
    }
    if (relay.driver === "http") {
      throw new ConfigError([
        "SESSION_RELAY_DRIVER=http: no address leads to this instance. Set SESSION_RELAY_URL to one that does, or use auto.",
      ]);
    }
  }
  switch (store.kind) {
    case "redis": {
      const { nodes, ...address } = readRedisUrl(store.url);
      const connection = { ...redisOptions({ nodes, ...address }, store.timeoutMs), db: address.db };
      return openRedisRelay({ ...common, nodes, connection, prefix: store.prefix });
    }
    case "upstash":
      return openUpstashRelay({ ...common, url: store.url, token: store.token, prefix: store.prefix });
    case "memory":
      throw new ConfigError(["SESSION_RELAY=on needs a store that instances share."]);
  }
}

const isLocal = (address: string): boolean => /^(127\.|\[::1\]$|localhost$)/.test(new URL(address).hostname);
