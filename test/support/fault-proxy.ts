import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { FaultPipe, type Faults } from "./fault-proxy-pipe.ts";

export type { Faults };

/** `up`: from who connects to what is behind the proxy. */
export type Direction = "up" | "down" | "both";

/** A TCP proxy that breaks connections in the ways that networks do, with toxiproxy's words. */
export interface FaultProxy {
  readonly port: number;
  /** Replaces the faults of a direction, for connections that are open and for those to come. */
  set(direction: Direction, faults: Faults): void;
  /** Takes all faults back, and listens again. What is open goes on. */
  heal(): Promise<void>;
  /** Refuses connections, and resets those that are open. */
  down(): Promise<void>;
  up(): Promise<void>;
  /** Ends every open connection, both its sides; answers how many. */
  cut(kind: "fin" | "rst"): number;
  /** Connections open now, and accepted so far. */
  openConnections(): number;
  connections(): number;
  /** Safe to call twice. */
  close(): Promise<void>;
}

interface Pair {
  near: Socket;
  far: Socket;
  pipes: FaultPipe[];
}

/** Starts the proxy on 127.0.0.1 before a port there. */
export async function startFaultProxy(target: { port: number }): Promise<FaultProxy> {
  const faults: Record<"up" | "down", Faults> = { up: {}, down: {} };
  const pairs = new Set<Pair>();
  let accepted = 0;
  let port = 0;

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    accepted += 1;
    const far = connect({ port: target.port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    const end = (kind: "fin" | "rst") => endPair(pair, kind);
    const pair: Pair = {
      near,
      far,
      pipes: [
        new FaultPipe(near, far, () => faults.up, end),
        new FaultPipe(far, near, () => faults.down, end),
      ],
    };
    pairs.add(pair);
    for (const [socket, direction] of [
      [near, "up"],
      [far, "down"],
    ] as const) {
      socket.on("error", () => {
        if (!faults[direction].halfOpen) endPair(pair, "rst");
      });
      socket.once("close", () => {
        if (near.destroyed && far.destroyed) pairs.delete(pair);
      });
    }
  });

  function endPair(pair: Pair, kind: "fin" | "rst"): void {
    pairs.delete(pair);
    for (const pipe of pair.pipes) pipe.stop();
    for (const socket of [pair.near, pair.far]) {
      if (kind === "rst") socket.resetAndDestroy();
      else socket.destroySoon();
    }
  }

  const wake = () => [...pairs].forEach(({ pipes }) => pipes.forEach((pipe) => pipe.wake()));

  async function up(): Promise<void> {
    if (server.listening) return;
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    ({ port } = server.address() as AddressInfo);
  }

  async function down(): Promise<void> {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    cut("rst");
    await closed;
  }

  function cut(kind: "fin" | "rst"): number {
    const all = [...pairs];
    for (const pair of all) endPair(pair, kind);
    return all.length;
  }

  await up();
  return {
    port,
    set: (direction, next) => {
      if (direction !== "down") faults.up = next;
      if (direction !== "up") faults.down = next;
      wake();
    },
    heal: async () => {
      faults.up = {};
      faults.down = {};
      wake();
      await up();
    },
    down,
    up,
    cut,
    openConnections: () => pairs.size,
    connections: () => accepted,
    close: down,
  };
}
