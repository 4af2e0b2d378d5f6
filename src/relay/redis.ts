import { Redis, type RedisOptions } from "ioredis";
import type { Log } from "../log.ts";
import { openChannelRelay, type ChannelRelayPlace } from "./channel-relay.ts";
import { reconnectDelayMs, within, type Channels, type Published } from "./channels.ts";
import { fromBytes, toBytes } from "./envelope.ts";
import type { Relay } from "./relay.ts";

export interface RedisRelayOptions extends ChannelRelayPlace {
  /** One, or the nodes of a Redis Cluster, of which any will do. */
  nodes: readonly { host: string; port: number }[];
  /** What ioredis is told about a connection besides where it leads: credentials, TLS, database, timeouts. */
  connection: Omit<RedisOptions, "replyMapping">;
  /** After how many ms of silence it is looked whether we still hear, and how long that may take; 10 s and 2 s by default. */
  selfTest?: { silenceMs: number; echoMs: number };
}

const MAX_RECONNECT_MS = 2000;
/** How long a frozen Redis may take to answer a new connection. */
const BRING_UP_MS = 5000;
const PING = Buffer.from("ping");

interface Connection {
  /** The client while it is ready. */
  client(): Redis | undefined;
  /** Drops the present connection and opens another. */
  restart(): void;
  close(): void;
}

interface ConnectionEvents {
  /** A new client is connected; it serves once this has resolved. */
  prepare?: (client: Redis) => Promise<unknown>;
  onUp?: () => void;
  onDown?: () => void;
}

/**
 * Keeps one connection open. Each client lives as long as its connection: ioredis's own reconnection would subscribe
 * again unseen, and could send a message twice.
 */
function keepConnected(options: RedisRelayOptions, events: ConnectionEvents, log: Log): Connection {
  const { nodes } = options;
  // Each command has a deadline of its own: a large message may take longer than others.
  const { commandTimeout: _, ...connection } = options.connection;
  const settings = {
    ...connection,
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  } satisfies RedisOptions;
  let current: Redis;
  let ready: Redis | undefined;
  let attempt = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let isTold = false;

  function connect(): void {
    let code = "closed";
    const client = new Redis({ ...settings, ...nodes[attempt % nodes.length] });
    current = client;
    client.on("error", (error: NodeJS.ErrnoException) => (code = error.code ?? error.name));
    client.once("end", () => lost(code));
    void within(BRING_UP_MS, bringUp(client), false).then((isUp) => {
      // What went wrong is told by "error", and what follows by "end".
      if (!isUp || closed) return client.disconnect();
      if (client.status !== "ready") return;
      if (isTold) log.info("relay's Redis connection is back");
      [ready, attempt, isTold] = [client, 0, false];
      events.onUp?.();
    });
  }

  async function bringUp(client: Redis): Promise<true> {
    await client.connect();
    await events.prepare?.(client);
    return true;
  }

  function lost(code: string): void {
    ready = undefined;
    if (closed) return;
    events.onDown?.();
    if (!isTold) log.warn({ code }, "relay's Redis connection lost; connecting again in the background");
    isTold = true;
    timer = setTimeout(connect, reconnectDelayMs(attempt, MAX_RECONNECT_MS)).unref();
    attempt += 1;
  }

  connect();
  return {
    client: () => (ready?.status === "ready" ? ready : undefined),
    restart: () => current.disconnect(),
    close: () => {
      closed = true;
      clearTimeout(timer);
      current.disconnect();
    },
  };
}

function openRedisChannels(options: RedisRelayOptions): Channels {
  const { log } = options;
  let onUp: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (onUp = resolve));
  const publisher = keepConnected(options, { onUp }, log);

  return {
    opened,
    publish: async (channel, publication, deadlineMs) => {
      const client = publisher.client();
      if (client === undefined) return "unreachable";
      const bytes = publication === "ping" ? PING : toBytes(publication);
      return within(deadlineMs, client.publish(channel, bytes).catch(failed), "unknown");
    },
    listen: (channel, events) => {
      const connection = keepConnected(
        options,
        {
          prepare: (client) => {
            client.on("messageBuffer", (_channel: Buffer, bytes: Buffer) => {
              events.onPublication(bytes.equals(PING) ? "ping" : fromBytes(bytes));
            });
            return client.subscribe(channel);
          },
          onUp: () => events.onUp(),
          onDown: () => events.onDown(),
        },
        log,
      );
      return { restart: () => connection.restart(), close: async () => connection.close() };
    },
    close: async () => publisher.close(),
  };
}

/** A connection that broke under a command leaves open whether it was carried out. */
function failed(error: Error): Published {
  const isUnsent = error.name === "ReplyError" || error.message.startsWith("Stream isn't writeable");
  return isUnsent ? "unreachable" : "unknown";
}

/** Instances call each other through Redis's publish and subscribe, on two connections of their own. */
export function openRedisRelay(options: RedisRelayOptions): Promise<Relay> {
  const { prefix, instanceId, key, log, events, selfTest } = options;
  return openChannelRelay({
    kind: "redis",
    channels: openRedisChannels(options),
    prefix,
    instanceId,
    key,
    log,
    events,
    helloMs: 1000,
    retryMs: [100, 200, 400, 800],
    countsAll: options.nodes.length === 1,
    selfTest: selfTest ?? { silenceMs: 10_000, echoMs: 2000 },
    openMs: 1000,
  });
}
