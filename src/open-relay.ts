import type { RelayConfig, StoreConfig } from "./config.ts";
import { ConfigError } from "./errors.ts";
import type { Log } from "./log.ts";
import { findAddress } from "./relay/address.ts";
import { createRelayKey } from "./relay/envelope.ts";
import type { HttpRelay } from "./relay/http.ts";
import type { Relay, RelayEvents } from "./relay/relay.ts";
import { readCertificates } from "./session-store/redis-certificate.ts";
import { readRedisUrl } from "./session-store/redis-url.ts";

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
      const { openHttpRelay } = await import("./relay/http.ts");
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
  const { target, prefix, timeoutMs } = store;
  if (target.kind === "upstash") {
    const { openUpstashRelay } = await import("./relay/upstash.ts");
    return openUpstashRelay({ ...common, url: target.url, token: target.token, prefix });
  }
  if (target.kind !== "redis")
    throw new ConfigError(["SESSION_RELAY=on needs a store that instances share."]);
  const read = readRedisUrl(target.url);
  const ca = target.caFile === undefined || !read.tls ? undefined : readCertificates(target.caFile);
  const { redisOptions } = await import("./session-store/redis-connection.ts");
  const { openRedisRelay } = await import("./relay/redis.ts");
  const connection = { ...redisOptions(read, timeoutMs, ca), db: read.db };
  return openRedisRelay({
    ...common,
    nodes: read.master === undefined ? read.nodes : read.nodes.slice(0, 1),
    connection,
    prefix,
  });
}

const isLocal = (address: string): boolean => /^(127\.|\[::1\]$|localhost$)/.test(new URL(address).hostname);
