import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "./eventually.ts";
import { startFaultProxy, type FaultProxy } from "./fault-proxy.ts";

describe("fault proxy", () => {
  let proxy: FaultProxy;
  /** The echoing server's end of each connection. */
  let inside: Socket[];

  beforeEach(async () => {
    inside = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      inside.push(socket);
      socket.on("error", () => undefined).pipe(socket);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    proxy = await startFaultProxy({ port: (server.address() as AddressInfo).port });
    onTestFinished(async () => {
      await proxy.close();
      inside.forEach((socket) => socket.destroy());
      server.close();
    });
  });

  interface Line {
    socket: Socket;
    text(): string;
    chunks: Buffer[];
    /** How the connection ended. */
    over: Promise<string>;
  }

  async function open(): Promise<Line> {
    const socket = connect(proxy.port, "127.0.0.1");
    await once(socket, "connect");
    onTestFinished(() => void socket.destroy());
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    const over = new Promise<string>((resolve) => {
      socket.once("end", () => resolve("fin"));
      socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    });
    return { socket, chunks, over, text: () => Buffer.concat(chunks).toString() };
  }
  const says = (line: Line, text: string) => eventually(() => expect(line.text()).toBe(text));
  const took = async (work: () => Promise<unknown>) => {
    const start = performance.now();
    await work();
    return performance.now() - start;
  };

  test("passes bytes and ends both ways while nothing is wrong", async () => {
    const line = await open();
    line.socket.end("hello");
    await line.over;
    expect(line.text()).toBe("hello");
    await eventually(() => expect(proxy.openConnections()).toBe(0));
  });

  test("latency delays what passes, and keeps its order", async () => {
    const line = await open();
    proxy.set("up", { latency: { ms: 60, jitterMs: 30 } });
    const ms = await took(async () => {
      for (const letter of "abcdef") line.socket.write(letter);
      await says(line, "abcdef");
    });
    expect(ms).toBeGreaterThan(25);
  });

  test("bandwidth limits how much passes in a second", async () => {
    const line = await open();
    proxy.set("down", { bandwidth: { bytesPerSecond: 10_000 } });
    expect(
      await took(async () => (line.socket.write("x".repeat(2000)), await says(line, "x".repeat(2000)))),
    ).toBeGreaterThan(150);
  });

  test("timeout stops data, keeps the connection, and lets data pass afterwards", async () => {
    const line = await open();
    proxy.set("both", { timeout: true });
    line.socket.write("late");
    const other = await open();
    expect([line.text(), other.socket.readyState, proxy.openConnections()]).toEqual(["", "open", 2]);
    await proxy.heal();
    await says(line, "late");
  });

  test("slicer cuts data into small pieces", async () => {
    const line = await open();
    proxy.set("down", { slicer: { bytes: 3, delayMs: 2 } });
    line.socket.write("abcdefgh");
    await says(line, "abcdefgh");
    expect(line.chunks.length).toBeGreaterThan(1);
    expect(Math.max(...line.chunks.map((chunk) => chunk.length))).toBeLessThanOrEqual(6);
  });

  test("limitData ends the connection after so many bytes", async () => {
    const line = await open();
    proxy.set("down", { limitData: { bytes: 4 } });
    line.socket.write("abcdefgh");
    expect(await line.over).toBe("fin");
    expect(line.text()).toBe("abcd");
  });

  test("resetPeer resets the connection after its first byte", async () => {
    const line = await open();
    proxy.set("up", { resetPeer: { afterMs: 5 } });
    line.socket.write("x");
    expect(await line.over).toBe("ECONNRESET");
    await eventually(() => expect(inside[0]?.destroyed).toBe(true));
  });

  test("slowClose passes the end on later", async () => {
    const line = await open();
    proxy.set("up", { slowClose: { ms: 60 } });
    expect(await took(async () => (line.socket.end(), await line.over))).toBeGreaterThan(50);
  });

  test("halfOpen keeps from one side that the other has gone", async () => {
    const line = await open();
    proxy.set("up", { halfOpen: true });
    line.socket.end("bye");
    await line.over;
    await eventually(() => expect(line.socket.destroyed).toBe(true));
    const [server] = inside;
    server?.write("anyone?");
    await eventually(() => expect(server?.writableLength).toBe(0));
    expect([server?.readableEnded, server?.destroyed]).toEqual([false, false]);
    expect(proxy.cut("rst")).toBe(1);
    await eventually(() => expect(server?.destroyed).toBe(true));
  });

  test.each([
    ["fin", "fin"],
    ["rst", "ECONNRESET"],
  ] as const)("cut by %s ends both sides at once", async (kind, how) => {
    const line = await open();
    line.socket.write("x");
    await says(line, "x");
    expect(proxy.cut(kind)).toBe(1);
    expect(await line.over).toBe(how);
    expect(proxy.openConnections()).toBe(0);
  });

  test("down refuses connections and resets open ones; up takes them again on the same port", async () => {
    const line = await open();
    await proxy.down();
    expect(await line.over).toBe("ECONNRESET");
    await expect(open()).rejects.toThrow("ECONNREFUSED");
    await proxy.up();
    (await open()).socket.end();
  });
});
