import { onTestFinished } from "vitest";
import type { SpawnedGateway } from "../support/spawn-gateway.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY } from "../support/start-gateway.ts";
import { wait } from "./load.ts";

/** A client that has an open stream and says little. It comes back by its name when its stream ends. */
export interface QuietClient {
  readonly name: string;
  readonly sessionId: string;
  /** Port of the instance that its stream goes to. */
  port(): number;
  /** Sends a `ping` through this instance and waits for the answer on the stream. Never rejects: says what went wrong. */
  ping(through: SpawnedGateway): Promise<string | undefined>;
  close(): void;
}

/** What became of them all. */
export interface Quiet {
  readonly clients: QuietClient[];
  /** Streams that came back. */
  readonly returns: () => number;
  /** Those that did not. */
  readonly lost: () => readonly string[];
  /** Resolves when none is on its way back. */
  settled(): Promise<void>;
}

const AT_ONCE = 24;
const ANSWER_MS = 20_000;
const RETURN_MS = 60_000;

/** Does this for each, some at once. */
export async function forEach<T>(
  all: readonly T[],
  work: (one: T, at: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let at = next++; at < all.length; at = next++) await work(all[at] as T, at);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

/** Opens so many streams, by turns on each instance; `living` is asked where to come back to. */
export async function openQuiet(
  count: number,
  gateways: readonly SpawnedGateway[],
  living: () => readonly SpawnedGateway[],
): Promise<Quiet> {
  const clients: QuietClient[] = [];
  const lost: string[] = [];
  const onTheWay = new Set<Promise<void>>();
  let returns = 0;
  let returning = 0;
  let isOver = false;

  async function open(name: string, gateway: SpawnedGateway): Promise<QuietClient> {
    const path = `/mcp/sse?clientId=${name}`;
    let at = gateway.port;
    let calls = 0;
    let stream: TestStream = await openTestStream(gateway.url, { path });
    await stream.initialize();
    const { sessionId } = stream;

    async function comeBack(): Promise<void> {
      const giveUpAt = Date.now() + RETURN_MS;
      while (!isOver && Date.now() < giveUpAt) {
        const all = living();
        const next = all[Math.floor(Math.random() * all.length)];
        // What a storm of returns waits for is not to be the client.
        if (next === undefined || returning >= AT_ONCE) {
          await wait(20 + Math.random() * 80);
          continue;
        }
        returning += 1;
        const found = await openTestStream(next.url, { path }).catch(() => undefined);
        returning -= 1;
        if (found === undefined) {
          await wait(200);
          continue;
        }
        [stream, at] = [found, next.port];
        returns += 1;
        return watch();
      }
      if (!isOver) lost.push(`${name} did not come back`);
    }
    function watch(): void {
      void stream.ended.then(() => {
        if (isOver) return;
        const way = comeBack().finally(() => onTheWay.delete(way));
        onTheWay.add(way);
      });
    }
    watch();

    async function ping(through: SpawnedGateway): Promise<string | undefined> {
      const id = `${name}-${(calls += 1)}`;
      try {
        const { pathname, search } = new URL(stream.endpoint);
        const answer = await fetch(`${through.url}${pathname}${search}`, {
          method: "POST",
          headers: { "content-type": "application/json", "x-api-key": KEY },
          body: JSON.stringify({ jsonrpc: "2.0", id, method: "ping" }),
        });
        const text = await answer.text();
        if (answer.status !== 202) return `${name}: ${answer.status} ${text}`;
        const came = stream.next((message) => message.id === id);
        const inTime = await Promise.race([came.then(() => true), wait(ANSWER_MS).then(() => false)]);
        if (!inTime) return `${name}: no answer`;
        const times = stream.messages.filter((message) => message.id === id).length;
        return times === 1 ? undefined : `${name}: ${times} answers`;
      } catch (error) {
        return `${name}: ${String(error)}`;
      }
    }
    return { name, sessionId, port: () => at, ping, close: () => stream.cut() };
  }

  onTestFinished(async () => {
    isOver = true;
    for (const client of clients) client.close();
    await Promise.all(onTheWay);
  });
  await forEach(Array.from({ length: count }), async (_, at) => {
    clients.push(await open(`quiet-${at}`, gateways[at % gateways.length] as SpawnedGateway));
  });
  return {
    clients,
    returns: () => returns,
    lost: () => lost,
    settled: async () => {
      while (onTheWay.size > 0) await Promise.all(onTheWay);
    },
  };
}
