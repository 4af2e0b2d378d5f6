import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface Plug {
  port: number;
  /** Cuts every connection and refuses new ones. Safe to call twice. */
  pull(): Promise<void>;
}

/** A port that leads to another one until it is pulled. */
export async function plugInto(port: number, host = "127.0.0.1"): Promise<Plug> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    return socket.once("close", () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    const far = keep(connect(port, host));
    keep(near).pipe(far).pipe(near);
    near.once("close", () => far.destroy());
    far.once("close", () => near.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  let pulling: Promise<void> | undefined;

  async function pull(): Promise<void> {
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  }
  return { port: (server.address() as AddressInfo).port, pull: () => (pulling ??= pull()) };
}
