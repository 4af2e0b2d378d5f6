import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";

import { Redis } from "@upstash/redis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";

import { eventually } from "./eventually.ts";
import { startRedis, type RedisUnderTest } from "./redis-server.ts";
import { startUpstash, type UpstashUnderTest } from "./upstash-server.ts";

let redis: RedisUnderTest;
let upstash: UpstashUnderTest;
const key = (name: string): string => `upstash-test:${name}`;

beforeAll(async () => {
  redis = await startRedis();
  upstash = await startUpstash({ redisUrl: redis.url, maxRequestBytes: 100_000 });
});
beforeEach(() => upstash.resetBilled());
afterEach(() => {
  upstash.heal();
  upstash.limitCommands(undefined);
});
afterAll(async () => {
  await upstash.close();
  await redis.stop();
});

interface Asked {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  token?: string;
}

async function ask(path: string, { method = "POST", headers = {}, body, token = upstash.token }: Asked = {}) {
  const response = await fetch(upstash.url + path, {
    method,
    headers: { ...(token === "" ? {} : { authorization: `Bearer ${token}` }), ...headers },
    ...(body === undefined ? {} : { body }),
  });
  const text = await response.text();
  return { status: response.status, text, headers: response.headers };
}

const run = (...command: (string | number)[]) => ask("/", { body: JSON.stringify(command) });

describe("the forms of a request", () => {
  test("takes a command as a path, with a raw body and options in the query, and as JSON", async () => {
    expect((await ask(`/set/${key("p")}/a%20b%2Fc`)).text).toBe('{"result":"OK"}');
    expect((await ask(`/get/${key("p")}`, { method: "GET" })).text).toBe('{"result":"a b/c"}');
    expect((await ask(`/set/${key("q")}?EX=100`, { body: Buffer.from("raw\n") })).text).toBe(
      '{"result":"OK"}',
    );
    expect((await run("GET", key("q"))).text).toBe('{"result":"raw\\n"}');
    expect((await run("TTL", key("q"))).text).toBe('{"result":100}');
    expect((await run("SET", key("n"), 12, "EX", 100)).text).toBe('{"result":"OK"}');
  });

  test("answers a pipeline with each outcome, and a transaction as a whole", async () => {
    const batch = JSON.stringify([
      ["SET", key("s"), "text"],
      ["INCR", key("s")],
      ["GET", key("s")],
    ]);
    const pipeline = await ask("/pipeline", { body: batch });
    expect(pipeline.status).toBe(200);
    expect(JSON.parse(pipeline.text)).toEqual([
      { result: "OK" },
      { error: "ERR value is not an int or out of range" },
      { result: "text" },
    ]);
    expect((await ask("/multi-exec", { body: batch })).text).toBe(pipeline.text);
    const discarded = await ask("/multi-exec", { body: JSON.stringify([["SET", key("s"), "new"], ["SET"]]) });
    expect(discarded).toMatchObject({
      status: 400,
      text: expect.stringContaining("wrong number of arguments"),
    });
    expect((await run("GET", key("s"))).text).toBe('{"result":"text"}');
  });

  test.each([
    ["/", "{"],
    ["/", "[]"],
    ["/", '{"a":1}'],
    ["/", '[["GET"]]'],
    ["/pipeline", '["GET","x"]'],
    ["/multi-exec", "null"],
  ])("answers 400 to POST %s with %s", async (path, body) => {
    expect(await ask(path, { body })).toMatchObject({
      status: 400,
      text: expect.stringContaining('"error"'),
    });
  });

  test("answers 405 to other methods, and 400 to a request that is too large", async () => {
    expect((await ask("/get/x", { method: "DELETE" })).status).toBe(405);
    const large = await run("SET", key("large"), "x".repeat(100_001));
    expect(large.status).toBe(400);
    expect(large.text).toMatch(
      /^{"error":"ERR max request size exceeded. Limit: 100000 bytes, Actual: 100\d+ bytes/,
    );
  });
});

describe("the answers", () => {
  test("keeps every digit of an integer, and tells nil from an empty list", async () => {
    await run("SET", key("i"), "9223372036854775806");
    expect((await run("INCR", key("i"))).text).toBe('{"result":9223372036854775807}');
    expect((await run("GET", key("absent"))).text).toBe('{"result":null}');
    expect((await run("LRANGE", key("absent"), 0, -1)).text).toBe('{"result":[]}');
  });

  test("encodes all strings in base64 but the status OK, and no error", async () => {
    const headers = { "upstash-encoding": "base64" };
    const run64 = (...command: string[]) => ask("/", { headers, body: JSON.stringify(command) });
    expect((await run64("SET", key("ok"), "OK")).text).toBe('{"result":"OK"}');
    expect((await run64("GET", key("ok"))).text).toBe('{"result":"T0s="}');
    expect((await run64("PING")).text).toBe('{"result":"UE9ORw=="}');
    const nested = await run64("EVAL", 'return {"a", {"b", 1, {"c"}}}', "0");
    expect(nested.text).toBe('{"result":["YQ==",["Yg==",1,["Yw=="]]]}');
    expect((await run64("GET")).text).toBe(`{"error":"ERR wrong number of arguments for 'get' command"}`);
  });

  test("answers in RESP2 when asked to, but not with base64 nor a transaction", async () => {
    const headers = { "upstash-response-format": "resp2" };
    await run("SET", key("r"), "é");
    expect((await ask(`/get/${key("r")}`, { headers })).text).toBe("$2\r\né\r\n");
    expect((await ask("/get/x", { headers: { ...headers, "upstash-encoding": "base64" } })).status).toBe(400);
    expect((await ask("/multi-exec", { headers, body: '[["PING"]]' })).status).toBe(400);
  });

  test("changes the sync token with every reply", async () => {
    const tokens = await Promise.all(
      [1, 2, 3].map(async () => (await run("PING")).headers.get("upstash-sync-token")),
    );
    expect(new Set(tokens).size).toBe(3);
  });

  test.each([
    ["BLPOP", "l", 0],
    ["XREAD", "BLOCK", 0, "STREAMS", "s", "$"],
    ["WATCH", "k"],
    ["SUBSCRIBE", "c"],
    ["SELECT", 1],
  ])("refuses %s", async (...command) => {
    const { status, text } = await run(...command);
    expect(status).toBe(400);
    expect(text).toContain("not available");
    expect(upstash.billed()).toBe(0);
  });
});

describe("who may", () => {
  test("answers 401 without a token and with a wrong one, in every form", async () => {
    for (const path of ["/", "/pipeline", "/multi-exec", "/get/x", "/subscribe/x"]) {
      expect(await ask(path, { token: "", body: "[]" })).toMatchObject({
        status: 401,
        text: '{"error":"Unauthorized"}',
      });
      const wrong = await ask(path, { token: "wrong", body: "[]" });
      expect(wrong).toMatchObject({
        status: 401,
        text: '{"error":"WRONGPASS invalid or missing auth token"}',
      });
    }
  });

  test("takes the token from the query as well", async () => {
    expect((await ask(`/ping?_token=${upstash.token}`, { token: "" })).text).toBe('{"result":"PONG"}');
  });

  test("lets a read-only token read, and neither write nor scan", async () => {
    const token = upstash.readOnlyToken;
    expect((await ask(`/get/${key("x")}`, { token })).status).toBe(200);
    for (const path of ["/set/a/b", "/scan/0", "/keys/*", "/del/a"]) {
      expect(await ask(path, { token })).toMatchObject({
        status: 400,
        text: expect.stringContaining("NOPERM"),
      });
    }
  });
});

describe("what an older Redis lacks", () => {
  test("sets only what equals the old value, with an expiry, in one command", async () => {
    const it = key("ifeq");
    await run("DEL", it);
    expect((await run("SET", it, "new", "IFEQ", "old", "EX", 50)).text).toBe('{"result":null}');
    await run("SET", it, "old");
    upstash.resetBilled();
    expect((await run("SET", it, "new", "IFEQ", "other", "EX", 50)).text).toBe('{"result":null}');
    expect((await run("SET", it, "new", "IFEQ", "old", "EX", 50)).text).toBe('{"result":"OK"}');
    expect(upstash.billedByCommand()).toEqual({ SET: 2 });
    expect((await run("TTL", it)).text).toBe('{"result":50}');
    expect((await run("GET", it)).text).toBe('{"result":"new"}');
  });

  test("deletes only what equals the value", async () => {
    const it = key("delex");
    await run("SET", it, "v");
    upstash.resetBilled();
    expect((await run("DELEX", it, "IFEQ", "w")).text).toBe('{"result":0}');
    expect((await run("DELEX", it, "IFEQ", "v")).text).toBe('{"result":1}');
    expect((await run("DELEX", it, "IFEQ", "v")).text).toBe('{"result":0}');
    expect(upstash.billedByCommand()).toEqual({ DELEX: 3 });
  });
});

describe("the bill", () => {
  test("counts each command of a batch, a variadic one once, and some not at all", async () => {
    await ask("/pipeline", {
      body: JSON.stringify([["GET", "a"], ["GET", "b"], ["MGET", "a", "b", "c"], ["PING"]]),
    });
    await ask("/multi-exec", { body: JSON.stringify([["DEL", "a", "b"], ["INFO"]]) });
    expect(upstash.billedByCommand()).toEqual({ GET: 2, MGET: 1, DEL: 1 });
    expect(upstash.billed()).toBe(4);
  });

  test("counts a script and each call in it, also by its digest", async () => {
    const script = 'redis.call("set", KEYS[1], ARGV[1]) return redis.pcall("get", KEYS[1])';
    expect((await run("EVAL", script, 1, key("e"), "v")).text).toBe('{"result":"v"}');
    expect(upstash.billedByCommand()).toEqual({ EVAL: 1, SET: 1, GET: 1 });
    const sha = (JSON.parse((await run("SCRIPT", "LOAD", script)).text) as { result: string }).result;
    upstash.resetBilled();
    expect((await run("EVALSHA", sha, 1, key("e"), "w")).text).toBe('{"result":"w"}');
    expect(upstash.billed()).toBe(3);
    expect((await run("EVAL", "return redis.error_reply('BAD luck')", 0)).text).toBe('{"error":"BAD luck"}');
    expect((await run("EVAL", "return false", 0)).text).toBe('{"result":null}');
    expect((await run("EVAL", "redis.call('ping')", 0)).text).toBe('{"result":null}');
    expect((await run("EVALSHA", "0".repeat(40), 0)).text).toContain("NOSCRIPT");
  });

  test("answers with the quota error when the limit is reached, to all that is billed", async () => {
    upstash.limitCommands(1);
    expect((await run("GET", "a")).status).toBe(200);
    expect((await run("GET", "a")).text).toMatch(
      /^{"error":"ERR max requests limit exceeded. Limit: 1, Usage: 1/,
    );
    expect((await run("PING")).status).toBe(200);
    expect(upstash.billed()).toBe(1);
  });
});

describe("subscriptions", () => {
  /** Opens a subscription; `events` fills as they come. */
  async function subscribe(path: string) {
    const request = httpRequest(upstash.url + path, {
      headers: { authorization: `Bearer ${upstash.token}`, accept: "text/event-stream" },
    }).end();
    const [response] = (await once(request, "response")) as [IncomingMessage];
    let text = "";
    const ended = new Promise<void>((resolve) => response.once("close", () => resolve()));
    response.on("error", () => undefined).setEncoding("utf8");
    response.on("data", (chunk: string) => (text += chunk));
    onTestFinished(() => void request.destroy());
    return { response, ended, events: () => text.split("\n\n").slice(0, -1) };
  }

  test("streams messages of channels and patterns, as often as they are published, for one command", async () => {
    const channel = await subscribe("/subscribe/chat");
    const pattern = await subscribe("/psubscribe/ch*");
    expect(channel.response.headers["content-type"]).toBe("text/event-stream");
    await eventually(() => channel.events().length === 1 && pattern.events().length === 1);
    expect(upstash.billed()).toBe(2);
    expect((await run("PUBLISH", "chat", "a,b")).text).toBe('{"result":2}');
    await eventually(() => channel.events().length === 2 && pattern.events().length === 2);
    expect(channel.events()).toEqual(["data: subscribe,chat,1", "data: message,chat,a,b"]);
    expect(pattern.events()).toEqual(["data: psubscribe,ch*,1", "data: pmessage,ch*,chat,a,b"]);
  });

  test("cuts streams when told to, and needs the right Accept", async () => {
    const { events, ended } = await subscribe("/subscribe/chat");
    await eventually(() => events().length === 1);
    upstash.cutStreams();
    await ended;
    expect((await ask("/subscribe/chat")).status).toBe(400);
  });
});

describe("faults", () => {
  test("carries a command out, or not, before it breaks the connection off", async () => {
    for (const kind of ["drop", "reset"] as const) {
      for (const executed of [true, false]) {
        await run("DEL", key("f"));
        upstash.fail(() => ({ kind, executed }));
        await expect(run("SET", key("f"), "v")).rejects.toThrow("fetch failed");
        upstash.heal();
        expect((await run("EXISTS", key("f"))).text).toBe(`{"result":${executed ? 1 : 0}}`);
      }
    }
  });

  test("hangs, delays, cuts an answer short, answers otherwise and lags, request by request", async () => {
    await run("SET", key("v"), "value");
    upstash.fail(({ path }) => (path === "/get/hang" ? { kind: "hang", executed: true } : undefined));
    const hung = fetch(`${upstash.url}/get/hang?_token=${upstash.token}`, {
      signal: AbortSignal.timeout(50),
    });
    await expect(hung).rejects.toThrow("timeout");
    expect((await run("GET", key("v"))).status).toBe(200);
    upstash.fail(() => ({ kind: "truncate" }));
    const cut = await run("GET", key("v"));
    expect('{"result":"value"}'.startsWith(cut.text) && cut.text.length < 18).toBe(true);
    upstash.fail(() => ({ kind: "answer", status: 502, body: "<html>", contentType: "text/html" }));
    expect(await run("GET", key("v"))).toMatchObject({ status: 502, text: "<html>" });
    upstash.fail(() => ({ kind: "stale" }));
    expect((await run("GET", key("v"))).text).toBe('{"result":null}');
    upstash.fail(() => ({ kind: "delay", milliseconds: 1 }));
    expect((await run("GET", key("v"))).text).toBe('{"result":"value"}');
  });
});

test("serves the real client with its default settings", async () => {
  const client = new Redis({ url: upstash.url, token: upstash.token });
  await client.set(key("json"), { a: [1, "é", null] }, { ex: 100 });
  expect(await client.get(key("json"))).toEqual({ a: [1, "é", null] });
  await client.set(key("ok"), "OK");
  expect(await client.get(key("ok"))).toBe("OK");
  await client.del(key("hash"), key("list"));
  await client.hset(key("hash"), { owner: "42", name: "x" });
  expect(await client.hgetall(key("hash"))).toEqual({ owner: 42, name: "x" });
  const transaction = client.multi().rpush(key("list"), "a", "b").lrange(key("list"), 0, -1);
  expect(await transaction.exec()).toEqual([2, ["a", "b"]]);
  expect(await Promise.all([1, 2, 3].map((at) => client.set(key(`auto${at}`), at)))).toEqual([
    "OK",
    "OK",
    "OK",
  ]);
  const heard: unknown[] = [];
  const subscription = client.subscribe<{ hello: string }>("real");
  subscription.on("message", ({ message }) => heard.push(message));
  await eventually(async () => (await client.publish("real", { hello: "there" })) === 1);
  await eventually(() => expect(heard).toEqual([{ hello: "there" }]));
  await subscription.unsubscribe();
});
