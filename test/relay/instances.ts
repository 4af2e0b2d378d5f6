import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { answerError } from "../../src/http/answer.ts";
import { createDoor } from "../../src/http/door.ts";
import { createRelayRoute, RELAY_PATH } from "../../src/http/relay-message.ts";
import { GatewayError } from "../../src/errors.ts";
import { createLog, type Log } from "../../src/log.ts";
import { createRelayKey } from "../../src/relay/envelope.ts";
import { openHttpRelay, type HttpRelay } from "../../src/relay/http.ts";
import { openRedisRelay } from "../../src/relay/redis.ts";
import type { Relay, RelayEvents } from "../../src/relay/relay.ts";
import { openUpstashRelay } from "../../src/relay/upstash.ts";

export const SECRET = "a secret that all instances share";
export const PREFIX = "mcp:";

/** One instance, as far as its relay is concerned. */
export interface Who {
  instanceId: string;
  events: RelayEvents;
  secret?: string;
  log?: Log;
  prefix?: string;
  selfTest?: { silenceMs: number; echoMs: number };
}

/** What a driver needs to be opened; all of it can be told to another process. */
export type Where =
  | { kind: "http" }
  | { kind: "redis"; url: string }
  | { kind: "upstash"; url: string; token: string };

export const parts = ({ instanceId, events, secret = SECRET, log = createLog("silent") }: Who) => ({
  instanceId,
  events,
  key: createRelayKey([secret]),
  log,
});

/** Opens a relay; for HTTP with a server of its own on 127.0.0.1, which ends with it. */
export function openRelay(where: Where, who: Who): Promise<Relay> {
  const { prefix = PREFIX, selfTest } = who;
  const common = { ...parts(who), prefix, ...(selfTest && { selfTest }) };
  switch (where.kind) {
    case "http":
      return openHttpInstance(who);
    case "redis": {
      const { hostname, port } = new URL(where.url);
      const nodes = [{ host: hostname, port: Number(port || 6379) }];
      return openRedisRelay({ ...common, nodes, connection: { connectTimeout: 1000 } });
    }
    case "upstash":
      return openUpstashRelay({ ...common, url: where.url, token: where.token });
  }
}

/** @param addressOf where others reach it, given the port that it listens on. */
export async function openHttpInstance(
  who: Who,
  addressOf: (port: number) => string | Promise<string> = (port) => `http://127.0.0.1:${port}`,
): Promise<HttpRelay> {
  const { log } = parts(who);
  let relay: HttpRelay | undefined;
  const route = createRelayRoute(
    async (header, readBody) => relay?.receive(header, readBody) ?? "unproven",
    () => undefined,
  );
  const server = createDoor((req, res) => {
    const work = req.url === RELAY_PATH ? route(req, res) : Promise.reject(new GatewayError("not_found"));
    Promise.resolve(work).catch((error: unknown) => answerError(req, res, error, log));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = await addressOf((server.address() as AddressInfo).port);
  const opened = (relay = openHttpRelay({ ...parts(who), address, allow: [] }));
  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    await opened.close();
    server.close();
    server.closeAllConnections();
  }
  return { ...opened, close: () => (closing ??= close()) };
}
