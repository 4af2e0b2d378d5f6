import type { Link, Upstream } from "../../src/upstream/upstream.ts";
import { never } from "./recorder.ts";

/** What the transports of both SDKs are here: JSON values in and out. */
interface AnyTransport {
  onmessage?: (message: never) => void;
  onclose?: () => void;
  onerror?: (error: Error) => void;
  start(): Promise<void>;
  send(message: unknown): Promise<void>;
  close(): Promise<void>;
}

/** A session over one link, for an SDK client. Everything that it carries can be watched. */
export function sessionTransport(
  upstream: Upstream,
  watch?: (way: "in" | "out", message: string) => void,
): AnyTransport {
  let link: Link | undefined;
  const transport: AnyTransport = {
    async start() {
      link = await upstream.open(
        {
          onMessage: (message) => {
            watch?.("in", message.toString());
            transport.onmessage?.(JSON.parse(message.toString()) as never);
          },
          onEnd: () => transport.onclose?.(),
        },
        never(),
      );
    },
    async send(message) {
      const text = JSON.stringify(message);
      watch?.("out", text);
      await link?.send(Buffer.from(text));
    },
    async close() {
      await link?.close();
    },
  };
  return transport;
}

/** A link for each request, for an SDK client of the 2026-07-28 era. A request that is given up closes its link. */
export function statelessTransport(
  upstream: Upstream,
  watch?: (way: "in" | "out", message: string) => void,
): AnyTransport {
  const links = new Map<unknown, Promise<Link>>();
  const leave = async (id: unknown): Promise<void> => {
    const link = links.get(id);
    links.delete(id);
    await (await link)?.close();
  };
  const transport: AnyTransport = {
    start: async () => undefined,
    async send(value) {
      const message = value as { id?: unknown; method?: string; params?: { requestId?: unknown } };
      const text = JSON.stringify(message);
      watch?.("out", text);
      if (message.method === "notifications/cancelled") return leave(message.params?.requestId);
      if (message.id === undefined) return;
      const opening = upstream.open(
        {
          onMessage: (bytes) => {
            watch?.("in", bytes.toString());
            const answer = JSON.parse(bytes.toString()) as { id?: unknown };
            if (answer.id === message.id) void leave(message.id);
            transport.onmessage?.(answer as never);
          },
          onEnd: () => undefined,
        },
        never(),
      );
      links.set(message.id, opening);
      await (await opening).send(Buffer.from(text));
    },
    async close() {
      await Promise.all([...links.keys()].map(leave));
      transport.onclose?.();
    },
  };
  return transport;
}
