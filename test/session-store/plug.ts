import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface Plug {
  port: number;
  /** How often somebody has connected so far. */
  connections: () => number;
  /** Passes on what is sent and keeps the answers, until `cut`. */
  swallow: () => void;
  /** Cuts every connection; new ones work again. */
  cut: () => void;
  /** Cuts every connection and refuses new ones. Safe to call twice. */
  pull: () => Promise<void>;
}

/** A port that leads to another one until it is pulled. */
export async function plugInto(port: number, host = "127.0.0.1"): Promise<Plug> {
  const sockets = new Set<Socket>();
  let swallowing = false;
  let connections = 0;
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    return socket.once("close", () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    connections += 1;
    const far = keep(connect(port, host));
    keep(near).pipe(far);
    far.on("data", (chunk: Buffer) => swallowing || near.write(chunk));
    near.once("close", () => far.destroy());
    far.once("close", () => near.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  let pulling: Promise<void> | undefined;

  function cut(): void {
    for (const socket of sockets) socket.destroy();
    swallowing = false;
  }

  async function pull(): Promise<void> {
    const closed = once(server, "close");
    server.close();
    cut();
    await closed;
  }
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    swallow: () => void (swallowing = true),
    cut,
    pull: () => (pulling ??= pull()),
  };
}
