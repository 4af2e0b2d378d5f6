import { once } from "node:events";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";
import { expect, test } from "vitest";
import { isHeldByServer } from "./connection-state.ts";
import { eventually } from "../support/eventually.ts";

test("knows that a server ended the connection of a client that does not read", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, "connection");
  const client = connect(port, "127.0.0.1").pause();
  const [served] = (await accepted) as [Socket];
  try {
    const { localPort = 0 } = client;
    expect(isHeldByServer(port, localPort)).toBe(true);
    // More than the kernel takes, so that the end waits behind it and never reaches the client.
    served.write(Buffer.alloc(64 * 1024 * 1024));
    expect(isHeldByServer(port, localPort)).toBe(true);
    served.destroy();
    await eventually(() => !isHeldByServer(port, localPort));
  } finally {
    client.destroy();
    served.destroy();
    server.close();
  }
});
