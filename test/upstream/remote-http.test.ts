import type * as Dns from "node:dns";
import type { LookupAddress, LookupAllOptions } from "node:dns";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { createRemoteHttp, type Head, type RemoteHttp } from "../../src/upstream/remote-http.ts";
import { eventually } from "../support/eventually.ts";
import { call, captureLog, never, outcomeOf, Recorder } from "./recorder.ts";
import { idOf, INITIALIZE, remote, result, say, startHttp, startScripted } from "./remote-servers.ts";

/** What names stand for, beside what they do stand for. */
const names = vi.hoisted(() => new Map<string, string[]>());
vi.mock("node:dns", async (original) => {
  const dns = await original<typeof Dns>();
  const lookup = (
    name: string,
    options: LookupAllOptions,
    done: (error: null, found: LookupAddress[]) => void,
  ) => {
    const known = names.get(name);
    if (known === undefined) return dns.lookup(name, options, done as never);
    done(
      null,
      known.map((address) => ({ address, family: 4 })),
    );
  };
  return { ...dns, lookup };
});

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one.close();
});
const use = <T extends { close(): unknown }>(one: T): T => {
  opened.push(one);
  return one;
};

/** A whole response, or what went wrong. */
function ask(
  http: RemoteHttp,
  body = "{}",
): Promise<{ head: Head | undefined; body: string; error?: Error }> {
  return new Promise((resolve) => {
    let head: Head | undefined;
    let text = "";
    http.exchange(
      { method: "POST", headers: {}, body: Buffer.from(body) },
      {
        onHead: (given) => (head = given),
        onData: (chunk) => (text += String(chunk)),
        onEnd: (error) => resolve({ head, body: text, ...(error === undefined ? {} : { error }) }),
      },
    );
  });
}

describe("redirects", () => {
  it.each([301, 302, 303, 307, 308])("SEC-43 are not followed: %s", async (status) => {
    const target = use(await startScripted({}));
    const redirect = (_: unknown, response: ServerResponse) =>
      response.writeHead(status, { location: target.url }).end();
    const server = use(await startScripted({ "tools/call": redirect, GET: redirect, DELETE: redirect }));
    const upstream = use(remote(server.url, { headers: { "x-key": "abc" } }));
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(INITIALIZE);
    await link.send(Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}'));
    expect(await outcomeOf(link.send(call(1, "echo")))).toBe("upstream_refused");
    await link.close();
    expect(server.seen.map(({ method }) => method)).toEqual(["POST", "POST", "GET", "POST", "DELETE"]);
    expect(target.seen).toEqual([]);
  });
});

describe("addresses", () => {
  it.each([
    "http://169.254.169.254/",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fe80::1]/",
    "http://100.100.100.200/",
    "http://[fd00:ec2::254]/",
  ])("SEC-42 never connects to %s", async (url) => {
    const { log, text } = captureLog();
    const upstream = use(remote(url, { log }));
    const link = await upstream.open(new Recorder(), never());
    expect(await outcomeOf(link.send(INITIALIZE))).toBe("upstream_unreachable");
    expect(await outcomeOf(upstream.stateless.open(new Recorder(), never()))).toBe("upstream_unreachable");
    expect(text()).toContain("EADDRFORBIDDEN");
  });

  it("SEC-44 checks the address that a name has when it is connected to", async () => {
    const server = use(await startHttp((_, response) => say(response, 200, {})));
    const { port } = new URL(server.url);
    names.set("flips.test", ["127.0.0.1", "127.0.0.1"]);
    const http = use(
      createRemoteHttp({ url: new URL(`http://flips.test:${port}/`), headers: {}, keepAlive: true }),
    );
    expect((await ask(http)).head?.status).toBe(200);
    names.set("flips.test", ["127.0.0.1", "169.254.169.254"]);
    server.cut();
    await eventually(async () => expect((await ask(http)).error).toMatchObject({ code: "EADDRFORBIDDEN" }));
    expect(server.seen).toHaveLength(1);
  });
});

describe("ISO-06 a spare response", () => {
  const response = (text: string): string =>
    `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;

  /** A server that answers each request with its number, and then does what the test says. */
  async function start(onRequest: (socket: Socket, count: number) => void): Promise<URL> {
    let count = 0;
    const server: Server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", () => onRequest(socket, (count += 1)));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    use(server);
    return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  }

  it("in the same packet is not the answer to the next request", async () => {
    const url = await start((socket, count) =>
      socket.write(response(`own ${count}`) + (count === 1 ? response("spare") : "")),
    );
    const http = use(createRemoteHttp({ url, headers: {}, keepAlive: true }));
    expect((await ask(http)).body).toBe("own 1");
    expect((await ask(http)).body).toBe("own 2");
    expect((await ask(http)).body).toBe("own 3");
  });

  it("on a connection that waits is not the answer to the next request", async () => {
    let first: Socket | undefined;
    const url = await start((socket, count) => {
      first ??= socket;
      socket.write(response(`own ${count}`));
    });
    const http = use(createRemoteHttp({ url, headers: {}, keepAlive: true }));
    expect((await ask(http)).body).toBe("own 1");
    first?.write(response("spare"));
    await once(first as Socket, "close");
    expect((await ask(http)).body).toBe("own 2");
  });

  it("that comes while the next request is being made is not its answer", async () => {
    const url = await start((socket, count) => {
      socket.write(response(`own ${count}`));
      if (count === 1) setImmediate(() => socket.write(response("spare")));
    });
    const http = use(createRemoteHttp({ url, headers: {}, keepAlive: true }));
    const first = await ask(http);
    const second = await ask(http);
    expect([first.body, second.body]).not.toContain("spare");
  });

  it("is not given to another client: each request without a session has a connection of its own", async () => {
    const sockets = new Set<unknown>();
    const server = use(
      await startScripted({
        "server/discover": (_, answer, seen) =>
          say(answer, 200, result(idOf(seen), { supportedVersions: ["2026-07-28"] })),
        "tools/call": (request, answer, seen) => {
          sockets.add(request.socket);
          say(answer, 200, result(idOf(seen)));
        },
      }),
    );
    const upstream = use(remote(server.url));
    for (const _request of [1, 2, 3]) {
      const seen = new Recorder();
      const link = await upstream.stateless.open(seen, never());
      await link.send(call(1, "echo"));
      await seen.answer(1);
      await link.close();
    }
    expect(sockets.size).toBe(3);
  });

  it("is not given to another session: each has connections of its own", async () => {
    const sockets = new Set<unknown>();
    const server = use(
      await startScripted({
        "tools/call": (request, answer, seen) => {
          sockets.add(request.socket);
          say(answer, 200, result(idOf(seen)));
        },
      }),
    );
    const upstream = use(remote(server.url));
    for (const _session of [1, 2, 3]) {
      const seen = new Recorder();
      const link = await upstream.open(seen, never());
      await link.send(call(1, "echo"));
      await seen.answer(1);
    }
    expect(sockets.size).toBe(3);
  });
});
