import { afterEach, describe, expect, it } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { eventually } from "../support/eventually.ts";
import { exchange, openRaw, rawRequest } from "../support/raw-http.ts";
import {
  headersOf,
  META,
  openStage,
  readEvents,
  request,
  ScriptedServer,
  type Stage,
} from "./modern-stage.ts";

let stage: Stage;
const server = () => new ScriptedServer();
afterEach(() => stage.close());

const RESULT = { id: 1, result: { resultType: "complete" } };
const NOTICE = { method: "notifications/progress", params: { progressToken: 1, progress: 1 } };

describe("one request", () => {
  it("is answered with the server's bytes as JSON, and the link closes", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const answer = stage.post(request("tools/list"));
    const link = await upstream.given();
    const bytes = '{"jsonrpc":"2.0", "id":1,"result":{"x":12345678901234567890,"é":"\\u00e9 ☂"}}';
    link.say(bytes);
    const response = await answer;
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
    expect(await response.text()).toBe(bytes);
    await eventually(() => link.isClosed && stage.door.inFlight === 0);
  });

  it("reaches the server as it was, on one line", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const body = request("tools/list", { big: 1 }, "a").replace(
      '"big":1',
      '"big":\n12345678901234567890,"v":"\\u00e9"',
    );
    void stage.post(body, headersOf(body)).catch(() => undefined);
    expect((await upstream.given()).sent).toEqual([body.replace("\n", " ")]);
  });

  it.each([
    [-32601, 404],
    [-32020, 400],
    [-32021, 400],
    [-32022, 400],
    [-32602, 200],
    [-32603, 200],
    [-32000, 200],
  ])("that fails with %d is answered with status %d", async (code, status) => {
    const upstream = server();
    stage = await openStage(upstream);
    const answer = stage.post(request("no/such"));
    (await upstream.given()).say({ id: 1, error: { code, message: "no" } });
    const response = await answer;
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ jsonrpc: "2.0", id: 1, error: { code, message: "no" } });
  });

  it("becomes a stream when something comes before the answer, without ids, and ends with it", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const answer = stage.post(request("tools/call", { name: "slow" }));
    const link = await upstream.given();
    link.say(NOTICE);
    const response = await answer;
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    expect(response.headers.get("x-accel-buffering")).toBe("no");
    link.say(NOTICE);
    link.say({ id: 1, error: { code: -32601, message: "no" } });
    const { messages, ids, ended } = readEvents(response);
    await ended;
    expect(messages).toMatchObject([NOTICE, NOTICE, { id: 1, error: { code: -32601 } }]);
    expect(ids).toEqual([undefined, undefined, undefined]);
    await eventually(() => link.isClosed && stage.door.inFlight === 0);
  });

  it("keeps its own answer apart from what nobody waits for", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const answer = stage.post(request("tools/list", {}, "1"));
    const link = await upstream.given();
    link.say({ id: 1, result: { of: "another" } });
    link.say({ id: 5, method: "sampling/createMessage" });
    link.say("not JSON");
    link.say({ id: "1", result: {} });
    link.say({ id: "1", result: { second: true } });
    expect(await (await answer).json()).toEqual({ jsonrpc: "2.0", id: "1", result: {} });
    expect(stage.log().match(/"event":"dropped"/g)).toHaveLength(3);
  });

  it("is cancelled at the server when its client disconnects", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const client = new AbortController();
    const answer = stage.post(request("tools/call", { name: "slow" }), undefined, client.signal);
    const link = await upstream.given();
    client.abort();
    await expect(answer).rejects.toThrow();
    await eventually(() => link.isClosed && stage.door.inFlight === 0);
  });

  it("is given up when its client disconnects before the link is open, and never sent", async () => {
    const upstream = server();
    let open = () => {};
    upstream.opening = new Promise((resolve) => (open = resolve));
    stage = await openStage(upstream);
    const client = new AbortController();
    const answer = stage.post(request("tools/list"), undefined, client.signal);
    await eventually(() => upstream.signals.length === 1);
    client.abort();
    await expect(answer).rejects.toThrow();
    await eventually(() => upstream.signals[0]?.aborted === true);
    open();
    await eventually(() => upstream.links[0]?.isClosed === true);
    expect(upstream.links[0]?.sent).toEqual([]);
  });

  it("gets an error with its own id, digit by digit, when the server ends", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const body = request("tools/list").replace('"id":1', '"id":12345678901234567890');
    const answer = stage.post(body, headersOf(body));
    (await upstream.given()).events.onEnd("upstream_exited");
    const response = await answer;
    expect(response.status).toBe(502);
    const text = await response.text();
    expect(text).toContain('"id":12345678901234567890}');
    expect(JSON.parse(text)).toMatchObject({
      jsonrpc: "2.0",
      error: {
        code: -32603,
        data: { reason: "upstream_exited", requestId: response.headers.get("x-request-id") },
      },
    });
  });

  it("gets the error on its stream when that has begun", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const answer = stage.post(request("tools/call", { name: "slow" }));
    const link = await upstream.given();
    link.say(NOTICE);
    link.events.onEnd("upstream_exited");
    const { messages, ended } = readEvents(await answer);
    await ended;
    expect(messages).toMatchObject([NOTICE, { id: 1, error: { data: { reason: "upstream_exited" } } }]);
  });

  it.each([
    ["upstream_era", 400, -32000],
    ["upstream_start_failed", 502, -32603],
    ["upstream_queue_full", 503, -32000],
    ["upstream_unavailable", 503, -32603],
    ["tool_not_allowed", 403, -32602],
  ] as const)("that no link is opened for is answered with %s", async (reason, status, code) => {
    const upstream = server();
    upstream.refusal = new GatewayError(reason);
    stage = await openStage(upstream);
    const response = await stage.post(request("server/discover"));
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ id: 1, error: { code, data: { reason } } });
    expect(response.headers.get("retry-after") === null).toBe(status !== 503);
    await eventually(() => stage.door.inFlight === 0);
  });

  it("that the server does not take is answered so, and the link closes", async () => {
    const upstream = server();
    upstream.giving = () => Promise.reject(new GatewayError("upstream_busy"));
    stage = await openStage(upstream);
    const response = await stage.post(request("tools/list"));
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "1"]);
    await eventually(() => upstream.links[0]?.isClosed === true);
  });

  it("hides what went wrong in the gateway itself, and tells the log", async () => {
    const upstream = server();
    upstream.refusal = new Error("secret place");
    stage = await openStage(upstream);
    const response = await stage.post(request("tools/list"));
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
    expect(stage.log()).toContain("secret place");
  });
});

describe("silence", () => {
  it("is broken by a comment once a heartbeat, which begins the stream", async () => {
    const upstream = server();
    stage = await openStage(upstream, { heartbeatMs: 1000 });
    const answer = stage.post(request("tools/call", { name: "slow" }));
    const link = await upstream.given();
    stage.door.beat(performance.now());
    stage.door.beat(performance.now() + 1000);
    const { comments, messages, ended } = readEvents(await answer);
    stage.door.beat(performance.now() + 1500);
    stage.door.beat(performance.now() + 2100);
    link.say(RESULT);
    await ended;
    expect(comments).toEqual(["ping", "ping"]);
    expect(messages).toMatchObject([RESULT]);
  });

  it("of the server for too long is answered with upstream_timeout, and the request cancelled", async () => {
    const upstream = server();
    stage = await openStage(upstream, { requestTimeoutMs: 5000 });
    const answer = stage.post(request("tools/call", { name: "slow" }));
    const link = await upstream.given();
    stage.door.beat(performance.now() + 4000);
    stage.door.beat(performance.now() + 5001);
    const response = await answer;
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({ id: 1, error: { data: { reason: "upstream_timeout" } } });
    await eventually(() => link.isClosed);
  });

  it("of a subscription is no fault", async () => {
    const upstream = server();
    stage = await openStage(upstream, { requestTimeoutMs: 5000, heartbeatMs: 1000 });
    const answer = stage.post(request("subscriptions/listen", { notifications: {} }));
    const link = await upstream.given();
    link.say({ method: "notifications/subscriptions/acknowledged" });
    stage.door.beat(performance.now() + 3_600_000);
    const { comments } = readEvents(await answer);
    await eventually(() => comments.length === 1);
    expect(link.isClosed).toBe(false);
  });
});

describe("a client that reads slowly", () => {
  const large = JSON.stringify({
    jsonrpc: "2.0",
    method: "notifications/x",
    params: { x: "x".repeat(1024 * 1024) },
  });

  it("pauses its server, and resumes it when it has caught up", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const client = openRaw(stage.port);
    client.socket.pause();
    const body = request("tools/call", { name: "flood" });
    client.send(rawRequest("POST /mcp", { ...headersOf(body), "Content-Type": "application/json" }, body));
    const link = await upstream.given();
    for (let count = 0; count < 8 && !link.isPaused; count += 1) link.say(large);
    expect(link.isPaused).toBe(true);
    client.socket.resume();
    await eventually(() => !link.isPaused);
    link.say(RESULT);
    await client.until('"resultType":"complete"');
    client.close();
  });

  it("is cut when it does not read at all, and its request cancelled", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const client = openRaw(stage.port);
    client.socket.pause();
    const body = request("tools/call", { name: "flood" });
    client.send(rawRequest("POST /mcp", { ...headersOf(body), "Content-Type": "application/json" }, body));
    const link = await upstream.given();
    for (let count = 0; count < 8; count += 1) link.say(large);
    expect(link.isPaused).toBe(true);
    stage.door.beat(performance.now() + 29_000);
    expect(link.isClosed).toBe(false);
    stage.door.beat(performance.now() + 600_000);
    await eventually(() => link.isClosed && stage.door.inFlight === 0);
    expect(stage.log()).toContain("slow_reader");
    client.close();
  });

  it("is cut too when only the last of its answer is untaken", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const client = openRaw(stage.port);
    client.socket.pause();
    const body = request("tools/list");
    client.send(rawRequest("POST /mcp", { ...headersOf(body), "Content-Type": "application/json" }, body));
    const link = await upstream.given();
    link.say({ id: 1, result: { text: "x".repeat(16 * 1024 * 1024) } });
    expect([link.isClosed, stage.door.inFlight]).toEqual([true, 1]);
    stage.door.beat(performance.now() + 3_600_000);
    await eventually(() => stage.door.inFlight === 0);
    client.close();
  });

  it("cannot make the gateway hold more than a bound when its server heeds no pause", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const client = openRaw(stage.port);
    client.socket.pause();
    const body = request("tools/call", { name: "flood" });
    client.send(rawRequest("POST /mcp", { ...headersOf(body), "Content-Type": "application/json" }, body));
    const link = await upstream.given();
    for (let count = 0; count < 64; count += 1) link.say(large);
    await eventually(() => link.isClosed && stage.door.inFlight === 0);
    client.close();
  });
});

describe("a notification", () => {
  const notification = (method: string) =>
    JSON.stringify({ jsonrpc: "2.0", method, params: { _meta: META } });

  it("is answered 202 without a body once the server has it", async () => {
    const upstream = server();
    let give = () => {};
    const given = new Promise<void>((resolve) => (give = resolve));
    upstream.giving = () => given;
    stage = await openStage(upstream);
    const answer = stage.post(notification("notifications/vendor"));
    const link = await upstream.given();
    stage.door.beat(performance.now() + 60_000);
    give();
    const response = await answer;
    expect([response.status, await response.text()]).toEqual([202, ""]);
    expect(link.sent).toEqual([notification("notifications/vendor")]);
    await eventually(() => link.isClosed && stage.door.inFlight === 0);
  });

  it("that cancels is taken and carried nowhere: its id could be anybody's", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    expect((await stage.post(notification("notifications/cancelled"))).status).toBe(202);
    expect(upstream.signals).toEqual([]);
  });

  it("that cannot be given is answered with an error that has no id", async () => {
    const upstream = server();
    upstream.refusal = new GatewayError("upstream_era");
    stage = await openStage(upstream);
    const response = await stage.post(notification("notifications/vendor"));
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ id: null, error: { code: -32000 } });
  });
});

describe("headers", () => {
  const call = request("tools/call", { name: "echo" });

  it("may have space around them, and any letters in their names", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const lines = [
      "Content-Type: application/json",
      "MCP-PROTOCOL-VERSION:   2026-07-28  ",
      "mCP-mETHOD: \t tools/call \t",
      "mcp-name:  echo  ",
      "Mcp-Session-Id: of-another-era",
      "Last-Event-ID: 7",
    ];
    const answer = exchange(stage.port, rawRequest("POST /mcp", lines, call));
    (await upstream.given()).say(RESULT);
    expect((await answer).status).toBe(200);
  });

  it.each([
    ["a version that is not the body's", { "mcp-protocol-version": "2027-01-01" }, -32020, "header_mismatch"],
    ["no method", { "mcp-method": undefined }, -32020, "header_mismatch"],
    ["another method", { "mcp-method": "tools/list" }, -32020, "header_mismatch"],
    ["no name", { "mcp-name": undefined }, -32020, "header_mismatch"],
    ["another name", { "mcp-name": "rm" }, -32020, "header_mismatch"],
    ["a name twice", { "mcp-name": "echo, echo" }, -32020, "header_mismatch"],
    [
      "a name in letters that a header cannot have",
      { "mcp-name": "=?base64?w6k" },
      -32020,
      "header_mismatch",
    ],
  ])("with %s are refused before anything is opened", async (_, change, code, reason) => {
    const upstream = server();
    stage = await openStage(upstream);
    const headers = Object.entries({ ...headersOf(call), ...change }).filter(
      ([, value]) => value !== undefined,
    );
    const response = await stage.post(call, Object.fromEntries(headers) as Record<string, string>);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ id: 1, error: { code, data: { reason } } });
    expect(upstream.signals).toEqual([]);
  });

  it("and body of a version that is not served are told which are", async () => {
    stage = await openStage(server());
    const response = await stage.post(call.replace("2026-07-28", "v999.0.0"), {
      ...headersOf(call),
      "mcp-protocol-version": "v999.0.0",
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      id: 1,
      error: { code: -32022, data: { supported: ["2026-07-28"], requested: "v999.0.0" } },
    });
  });

  it("that name the version of a body without _meta are answered -32602 and 400", async () => {
    stage = await openStage(server());
    const response = await stage.post('{"jsonrpc":"2.0","id":101,"method":"server/discover","params":{}}', {
      "mcp-protocol-version": "2026-07-28",
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      id: 101,
      error: { code: -32602, data: { envelope: { key: "_meta", problem: "missing" } } },
    });
  });
});

describe("limits", () => {
  it("refuse one caller's request too many, and nobody else's", async () => {
    const upstream = server();
    stage = await openStage(upstream, { limits: { requestsPerCaller: 2, listensPerCaller: 1, total: 100 } });
    const post = (method: string, caller: string) =>
      stage.post(request(method), { ...headersOf(request(method)), "x-caller": caller });
    const first = post("tools/list", "a");
    await upstream.given();
    void post("tools/list", "a").catch(() => undefined);
    await upstream.given(2);
    const over = await post("tools/list", "a");
    expect([over.status, over.headers.get("retry-after")]).toEqual([429, "1"]);
    expect(await over.json()).toMatchObject({ id: 1, error: { data: { reason: "too_many_in_flight" } } });
    void post("tools/list", "b").catch(() => undefined);
    void post("subscriptions/listen", "a").catch(() => undefined);
    await upstream.given(4);
    expect((await post("subscriptions/listen", "a")).status).toBe(429);
    upstream.links[0]?.say(RESULT);
    expect((await first).status).toBe(200);
    await eventually(() => stage.door.inFlight === 3);
    void post("tools/list", "a").catch(() => undefined);
    await upstream.given(5);
  });

  it("answer at once when the instance is full", async () => {
    const upstream = server();
    stage = await openStage(upstream, { limits: { requestsPerCaller: 9, listensPerCaller: 9, total: 1 } });
    void stage.post(request("tools/list")).catch(() => undefined);
    await upstream.given();
    const over = await stage.post(request("tools/list"));
    expect(over.status).toBe(503);
    expect(await over.json()).toMatchObject({ error: { data: { reason: "overloaded" } } });
  });
});

describe("a door that drains", () => {
  it("takes no more, ends subscriptions, and waits for the answers that are due", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const answer = stage.post(request("tools/list"));
    const link = await upstream.given();
    const listen = stage.post(request("subscriptions/listen"));
    (await upstream.given(2)).say({ method: "notifications/subscriptions/acknowledged" });
    const { ended, messages } = readEvents(await listen);
    let isIdle = false;
    const drained = stage.door.drain(new AbortController().signal).then(() => (isIdle = true));
    await ended;
    expect(messages).toHaveLength(1);
    expect(upstream.links[1]?.isClosed).toBe(true);
    const refused = await stage.post(request("tools/list"));
    expect([refused.status, refused.headers.get("connection")]).toEqual([503, "close"]);
    expect(await refused.json()).toMatchObject({ id: 1, error: { data: { reason: "draining" } } });
    expect(isIdle).toBe(false);
    link.say(RESULT);
    expect((await answer).status).toBe(200);
    await drained;
  });

  it("says that an answer is lost which did not come in time", async () => {
    const upstream = server();
    stage = await openStage(upstream);
    const answer = stage.post(request("tools/list"));
    const link = await upstream.given();
    await stage.door.drain(AbortSignal.abort());
    stage.door.close();
    stage.door.close();
    expect(await (await answer).json()).toMatchObject({ id: 1, error: { data: { reason: "answer_lost" } } });
    expect(link.isClosed).toBe(true);
  });
});
