import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { eventually } from "../support/eventually.ts";
import { call, never, outcomeOf, Recorder } from "./recorder.ts";
import { event, idOf, remote, result, startHttp, stream } from "./remote-servers.ts";

describe("remote, HTTP+SSE", () => {
  const opened: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const one of opened.splice(0).toReversed()) await one.close();
  });
  const use = <T extends { close(): Promise<void> }>(one: T): T => {
    opened.push(one);
    return one;
  };

  interface Script {
    /** Called for each stream, with its number from 1 on. */
    onStream: (write: (text: string) => void, count: number, response: ServerResponse) => unknown;
    /** What a POST is answered; a call is answered on the newest stream where it is 202. */
    status?: number;
  }

  async function open({ onStream, status = 202 }: Script, headers = {}) {
    let streams = 0;
    let write: ((text: string) => void) | undefined;
    const server = use(
      await startHttp((request, response, seen) => {
        if (request.method === "GET") {
          write = stream(response);
          streams += 1;
          return onStream(write, streams, response);
        }
        response.writeHead(status).end();
        if (status === 202) write?.(event(result(idOf(seen)), "event: message\n"));
      }, "/sse?key=1"),
    );
    const upstream = use(remote(server.url, { transport: "sse", headers, maxMessageBytes: 100_000 }));
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    return { server, link, seen };
  }

  const endpoint = (url: string): string => `event: endpoint\ndata: ${url}\n\n`;

  it("SEC-41 sends the operator's headers to stream and endpoint, and no others", async () => {
    const { server, link, seen } = await open(
      { onStream: (write) => write(endpoint("/messages?sessionId=1#x")) },
      { "x-key": "abc" },
    );
    await link.send(call(1, "echo"));
    await seen.answer(1);
    expect(server.seen.map(({ method, path }) => [method, path])).toEqual([
      ["GET", "/sse?key=1"],
      ["POST", "/messages?sessionId=1"],
    ]);
    const transfer = ["host", "connection", "content-length", "content-type", "accept"];
    for (const { headers } of server.seen) {
      expect(Object.keys(headers).filter((name) => !transfer.includes(name))).toEqual(["x-key"]);
      expect(headers["x-key"]).toBe("abc");
    }
  });

  it("SEC-43 sends nothing to an endpoint of another origin", async () => {
    const other = use(await startHttp((_, response) => response.writeHead(202).end()));
    const { link } = await open({ onStream: (write) => write(endpoint(other.url)) }, { "x-key": "abc" });
    expect(await outcomeOf(link.send(call(1, "echo")))).toBe("upstream_unreachable");
    expect(other.seen).toEqual([]);
  });

  it("goes on when the stream was cut and the session is still there", async () => {
    const { server, link, seen } = await open({
      onStream(write, count, response) {
        write(`retry: 1\nid: e${count}\n${endpoint("/messages")}`);
        if (count < 3) setImmediate(() => response.destroy());
      },
    });
    await outcomeOf(link.send(call(1, "echo")));
    await eventually(() => expect(server.seen.filter(({ method }) => method === "GET")).toHaveLength(3));
    await link.send(call(2, "echo"));
    await seen.answer(2);
    expect(seen.ends).toEqual([]);
    const gets = server.seen.filter(({ method }) => method === "GET");
    expect(gets.map(({ headers }) => headers["last-event-id"])).toEqual([undefined, "e1", "e2"]);
  });

  it("keeps back what is sent while the stream is cut", async () => {
    let comeBack = (): void => undefined;
    const { server, link, seen } = await open({
      onStream(write, count) {
        const name = () => write(`retry: 1\n${endpoint("/messages")}`);
        if (count === 1) name();
        else comeBack = name;
      },
    });
    await link.send(call(1, "echo"));
    await seen.answer(1);
    server.cut();
    await eventually(() => expect(server.seen.filter(({ method }) => method === "GET")).toHaveLength(2));
    const sent = link.send(call(2, "echo"));
    for (let turn = 0; turn < 5; turn += 1) await fetch(server.url, { method: "POST", body: '{"id":0}' });
    expect(server.seen.filter(({ body }) => body.includes("echo"))).toHaveLength(1);
    comeBack();
    await sent;
    await seen.answer(2);
  });

  it.each<[string, Script["onStream"]]>([
    ["names another endpoint", (write, count) => write(`retry: 1\n${endpoint(`/messages/${count}`)}`)],
    [
      "does not come back",
      (write, count, response) =>
        count === 1 ? write(`retry: 1\n${endpoint("/messages")}`) : response.destroy(),
    ],
  ])("ends when the stream was cut and then %s", async (_, onStream) => {
    const { server, link, seen } = await open({ onStream });
    await link.send(call(1, "echo"));
    await seen.answer(1);
    server.cut();
    expect(await seen.end()).toBe("upstream_exited");
    expect(await outcomeOf(link.send(call(2, "echo")))).toBe("upstream_exited");
    expect(seen.ends).toEqual(["upstream_exited"]);
  });

  it("ends when the server has forgotten the session", async () => {
    const { link, seen } = await open({ onStream: (write) => write(endpoint("/messages")), status: 404 });
    expect(await outcomeOf(link.send(call(1, "echo")))).toBe("upstream_exited");
    expect(await seen.end()).toBe("upstream_exited");
    expect(seen.messages).toEqual([]);
  });

  it.each([
    [401, "upstream_refused"],
    [307, "upstream_refused"],
    [404, "upstream_unreachable"],
    [503, "upstream_busy"],
  ])(
    "FLT-42 refuses a message when the stream is answered %s as %s, and tries again",
    async (status, reason) => {
      const server = use(await startHttp((_, response) => response.writeHead(status).end()));
      const upstream = use(remote(server.url, { transport: "sse" }));
      const seen = new Recorder();
      const link = await upstream.open(seen, never());
      expect(await outcomeOf(link.send(call(1, "echo")))).toBe(reason);
      expect(await outcomeOf(link.send(call(1, "echo")))).toBe(reason);
      expect(server.seen.map(({ method }) => method)).toEqual(["GET", "GET"]);
      expect(seen.ends).toEqual([]);
    },
  );

  it.each([
    [401, "upstream_refused"],
    [500, "upstream_unreachable"],
  ])("refuses a message that the endpoint answers %s as %s", async (status, reason) => {
    const { link, seen } = await open({ onStream: (write) => write(endpoint("/messages")), status });
    expect(await outcomeOf(link.send(call(1, "echo")))).toBe(reason);
    expect(seen.ends).toEqual([]);
  });

  it("FLT-44 ends when an event is too long", async () => {
    const { link, seen } = await open({
      onStream: (write) => write(endpoint("/messages") + event("x".repeat(100_000))),
    });
    await outcomeOf(link.send(call(1, "echo")));
    expect(await seen.end()).toBe("upstream_message_too_large");
  });
});
