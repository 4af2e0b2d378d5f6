import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "./eventually.ts";
import { startFrontProxy, type Backend, type Cut, type FrontProxyOptions } from "./front-proxy.ts";
import { openTestStream } from "./sse-client.ts";
import { freePort } from "./redis-server.ts";

interface Instance extends Backend {
  requests: IncomingMessage[];
  connections(): number;
}

/** A server that says its name; a GET of /mcp/sse opens a stream that counts until someone ends it. */
async function startInstance(name: string): Promise<Instance> {
  const requests: IncomingMessage[] = [];
  let connections = 0;
  const answer = (req: IncomingMessage, res: ServerResponse) => {
    requests.push(req);
    if (!req.url?.startsWith("/mcp/sse")) return void req.resume().once("end", () => res.end(name));
    res.writeHead(200, { "content-type": "text/event-stream" });
    res.write(`event: endpoint\ndata: /messages?sessionId=${name}-${requests.length}&token=t\n\n`);
    const timer = setInterval(() => res.write(": ping\n\n"), 5);
    res.once("close", () => clearInterval(timer));
  };
  const server: Server = createServer(answer).on("connection", () => (connections += 1));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => (server.close(), server.closeAllConnections()));
  return { name, port: (server.address() as AddressInfo).port, requests, connections: () => connections };
}

async function startFront(options: FrontProxyOptions, ...backends: Backend[]) {
  const front = await startFrontProxy({ seed: 1, ...options });
  onTestFinished(() => front.close());
  backends.forEach((backend) => front.add(backend));
  return front;
}

const namesOf = async (url: string, count: number) => {
  const names: string[] = [];
  for (let turn = 0; turn < count; turn += 1) names.push(await (await fetch(`${url}/turn`)).text());
  return names;
};

describe("front proxy", () => {
  test("sends each request to an instance by chance, the same ones for the same seed", async () => {
    const all = await Promise.all(["a", "b", "c"].map(startInstance));
    const [one, same] = [await startFront({}, ...all), await startFront({}, ...all)];
    const names = await namesOf(one.url, 30);
    expect(new Set(names)).toEqual(new Set(["a", "b", "c"]));
    expect(await namesOf(same.url, 30)).toEqual(names);
  });

  test("keeps connections to instances and tells them the client's address", async () => {
    const instance = await startInstance("a");
    const front = await startFront({}, instance);
    await namesOf(front.url, 10);
    expect(instance.connections()).toBe(1);
    expect(instance.requests[0]?.headers["x-forwarded-for"]).toBe("127.0.0.1");
  });

  test("passes a stream on as it comes, and knows where a session's stream is", async () => {
    const [a, b] = [await startInstance("a"), await startInstance("b")];
    const front = await startFront({}, a, b);
    const stream = await openTestStream(front.url);
    await eventually(() => expect(stream.comments.length).toBeGreaterThan(2));
    const [open] = front.openStreams();
    expect(open?.sessionId).toBe(stream.sessionId);
    front.setRoute(({ streamAt }, rotation) => rotation.find((one) => one !== streamAt));
    const other = await (await fetch(stream.endpoint, { method: "POST", body: "x" })).text();
    expect(other).not.toBe(open?.backend.name);
    stream.cut();
    await eventually(() => expect(front.openStreams()).toEqual([]));
  });

  test.each<[Cut, string]>([
    ["end", "complete"],
    ["fin", "aborted"],
    ["rst", "ECONNRESET"],
  ])("cuts a stream by %s", async (kind, how) => {
    const instance = await startInstance("a");
    const front = await startFront({}, instance);
    const stream = await openTestStream(front.url);
    let error: NodeJS.ErrnoException | undefined;
    stream.response.once("error", (seen) => (error = seen));
    expect(front.cutAll(kind)).toBe(1);
    await stream.ended;
    if (how === "complete") expect(stream.response.complete).toBe(true);
    else expect([error?.message, error?.code]).toContain(how);
    await eventually(() => expect(instance.requests[0]?.socket.destroyed).toBe(true));
    expect(front.counts()).toMatchObject({ streams: 1, cuts: 1 });
  });

  test("cuts each response at its age, and the instance may hear of it later", async () => {
    const instance = await startInstance("a");
    const front = await startFront({ maxAgeMs: 30, cutBy: "rst", lagMs: 60 }, instance);
    await (
      await openTestStream(front.url)
    ).ended;
    await eventually(() => expect(front.counts().lostBytes).toBeGreaterThan(0));
    await eventually(() => expect(instance.requests[0]?.socket.destroyed).toBe(true));
  });

  test("gives a refused connection's request, body and all, to another instance, and 502 when there is none", async () => {
    const dead = { name: "dead", port: await freePort() };
    const alive = await startInstance("a");
    const front = await startFront({ route: (_request, rotation) => rotation[0] }, dead, alive);
    const post = () => fetch(`${front.url}/x`, { method: "POST", body: "y".repeat(100_000) });
    expect(await (await post()).text()).toBe("a");
    front.remove("a");
    expect((await post()).status).toBe(502);
    expect(front.counts()).toMatchObject({ reroutes: 2, badGateways: 1 });
  });

  test("never sends a request twice whose bytes an instance may have", async () => {
    let connections = 0;
    const rude = createTcpServer((socket) => {
      connections += 1;
      socket.once("data", () => socket.resetAndDestroy()).on("error", () => undefined);
    }).listen(0, "127.0.0.1");
    await once(rude, "listening");
    onTestFinished(() => void rude.close());
    const alive = await startInstance("a");
    const rudeOne = { name: "rude", port: (rude.address() as AddressInfo).port };
    const front = await startFront({ route: (_request, rotation) => rotation[0] }, rudeOne, alive);
    expect((await fetch(`${front.url}/x`, { method: "POST", body: "y" })).status).toBe(502);
    expect([connections, alive.requests.length]).toEqual([1, 0]);
  });

  test("leaves an instance's streams alone when it goes out of rotation", async () => {
    const [a, b] = [await startInstance("a"), await startInstance("b")];
    const front = await startFront({}, a);
    const stream = await openTestStream(front.url);
    front.add(b);
    front.remove("a");
    expect(new Set(await namesOf(front.url, 10))).toEqual(new Set(["b"]));
    const before = stream.comments.length;
    await eventually(() => expect(stream.comments.length).toBeGreaterThan(before + 2));
  });
});
