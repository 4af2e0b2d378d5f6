import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import fc from "fast-check";
import { loadConfig } from "../../src/config.ts";
import { createApp } from "../../src/http/app.ts";
import { Authenticator } from "../../src/http/authenticate.ts";
import { GatewayError } from "../../src/errors.ts";
import type { GatewayEvent } from "../../src/events.ts";
import { digestOf } from "../../src/keys/api-key.ts";
import { KeyRing } from "../../src/keys/key-ring.ts";
import { PostTokens } from "../../src/session/post-token.ts";
import { silent } from "../session/scripted.ts";
import { exchange, rawRequest, type RawAnswer } from "../support/raw-http.ts";
import { openTestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal, expectRpcRefusal, targetOf } from "./refusal.ts";

const PING = '{"jsonrpc":"2.0","id":"p","method":"ping"}';
/** HEAD is asked for by itself: its answer has no body. */
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "LINK", "PURGE"];

/** The paths of the app, as Express knows them. */
function routePaths(): string[] {
  const refuse = () => {
    throw new GatewayError("internal");
  };
  const app = createApp({
    openStream: refuse,
    postMessage: refuse,
    streamable: refuse,
    relayMessage: refuse,
    guardOrigin: () => undefined,
    allowedOrigins: [],
    ready: (_req, res) => void res.end(),
    storeHealth: (_req, res) => void res.end(),
    metrics: undefined,
    requireKey: refuse,
    log: silent,
  });
  const router = app.router as unknown as { stack: { route?: { path: string | RegExp | string[] } }[] };
  return router.stack.flatMap(({ route }) => route?.path ?? []).filter((path) => typeof path === "string");
}

const sameBytes = ({ head, body }: RawAnswer) =>
  `${head}\n${body}`.replaceAll(/(X-Request-Id: |"requestId":")[a-z0-9-]+|Date: .*/g, "$1");

describe("without a key", () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway();
  });
  afterAll(() => gateway.close());

  /** What anybody may see: that the process is there, and where to go. */
  const OPEN = ["/health", "/health/live", "/health/ready", "/health/store", "/"];
  /** For other instances, and for nobody else there at all. */
  const INTERNAL = "/internal/relay";

  it("SEC-01 every route of the app answers 401, with every method, but health and the signpost", async () => {
    const paths = routePaths();
    const servers = ["/servers/:server/mcp", "/servers/:server/mcp/sse"];
    expect(paths).toEqual(expect.arrayContaining(["/mcp", "/mcp/sse", "/messages", ...servers, ...OPEN]));
    const closed = paths.filter((known) => !OPEN.includes(known) && known !== INTERNAL);
    for (const path of closed.map((known) => known.replace(":server", "default"))) {
      for (const method of METHODS) {
        const response = await exchange(gateway.port, rawRequest(`${method} ${path}`));
        const isEither = path.endsWith("/sse") && ["POST", "DELETE"].includes(method);
        if (path.endsWith("/mcp") || isEither) expectRpcRefusal(response, "api_key_missing");
        else expectRefusal(response, "api_key_missing");
        expect(response.headers["www-authenticate"]).toBe('Bearer realm="mcp-sse-gateway"');
      }
      expect((await fetch(gateway.url + path, { method: "HEAD" })).status).toBe(401);
    }
  });

  it("SEC-01 the path of other instances answers as one that is not there, with every method, with a key and without", async () => {
    expect(routePaths()).toContain(INTERNAL);
    for (const method of METHODS) {
      for (const headers of [[], [`X-API-Key: ${KEY}`], ["X-MCP-Relay: x"]]) {
        const response = await exchange(gateway.port, rawRequest(`${method} ${INTERNAL}`, headers));
        expectRefusal(response, "not_found");
      }
    }
  });

  it("SEC-01 what is open says nothing of sessions, callers or settings", async () => {
    const bodies = await Promise.all(OPEN.map(async (path) => (await fetch(gateway.url + path)).json()));
    expect(bodies).toEqual([
      { status: "ok" },
      { status: "ok" },
      { status: "ok", store: "ok", sessions: 0 },
      {
        status: "ok",
        store: "memory",
        reachable: true,
        latencyMs: expect.any(Number),
        breaker: "closed",
        leaseAgeSeconds: expect.any(Number),
        leaseOverdue: false,
      },
      { name: "mcp-sse-gateway", sse: "/mcp/sse", streamable: "/mcp", health: "/health" },
    ]);
  });

  it("SEC-40 OAuth probes are told in one sentence that there is none, with any method and outside the count", async () => {
    const probes = [
      "GET /.well-known/oauth-protected-resource/mcp/sse",
      "GET /.well-known/oauth-protected-resource",
      "GET /.well-known/oauth-authorization-server",
      "GET /.well-known/openid-configuration",
      "POST /register",
      "GET /authorize?client_id=x",
      "POST /token",
    ];
    for (const probe of [...probes, ...probes, ...probes]) {
      expectRefusal(
        await exchange(gateway.port, rawRequest(probe, ["X-API-Key: wrong"])),
        "oauth_not_offered",
      );
    }
  });
});

const RING = new KeyRing([
  { id: "e_a", caller: "a", digest: digestOf(KEY) },
  { id: "e_b", caller: "b", digest: digestOf(OTHER_KEY) },
]);

describe("the credential of a request", () => {
  const authenticator = new Authenticator(RING);
  let address = 0;
  const identify = (headers: Record<string, string>, queryKey?: string) => {
    try {
      return authenticator.identify({ headers } as never, queryKey, `address-${(address += 1)}`)?.name;
    } catch (error) {
      return (error as GatewayError).reason;
    }
  };

  it("SEC-03 the key may stand in any of three places, and in several when they agree", () => {
    expect(identify({ "x-api-key": KEY })).toBe("a");
    expect(identify({ authorization: `Bearer ${KEY}` })).toBe("a");
    expect(identify({ authorization: `bearer  ${KEY}` })).toBe("a");
    expect(identify({}, KEY)).toBe("a");
    expect(identify({ "x-api-key": KEY, authorization: `Bearer ${KEY}` }, KEY)).toBe("a");
    expect(identify({})).toBeUndefined();
  });

  it("SEC-03 credentials that disagree are refused, whichever of them is right", () => {
    expect(identify({ "x-api-key": KEY }, OTHER_KEY)).toBe("ambiguous_credentials");
    expect(identify({ "x-api-key": "wrong" }, KEY)).toBe("ambiguous_credentials");
    expect(identify({ "x-api-key": KEY, authorization: `Bearer ${OTHER_KEY}` })).toBe(
      "ambiguous_credentials",
    );
    expect(identify({ "x-api-key": KEY, authorization: `Basic ${KEY}` })).toBe("ambiguous_credentials");
    expect(identify({ "x-api-key": "", authorization: `Bearer ${KEY}` })).toBe("ambiguous_credentials");
  });

  it("SEC-02 SEC-03 what is not the key, and what is no key at all, is unknown", () => {
    const near = [
      `${KEY} `,
      ` ${KEY}`,
      `${KEY}\n`,
      KEY.toUpperCase(),
      encodeURIComponent(`${KEY}=`),
      KEY.slice(0, -1),
      `${KEY}x`,
      KEY.replace("e", "\u0435"),
      "",
      "x".repeat(10_000),
      digestOf(KEY).toString("hex"),
      `sha256:${digestOf(KEY).toString("hex")}`,
    ];
    for (const key of near) expect(identify({ "x-api-key": key }), key.slice(0, 60)).toBe("api_key_invalid");
    for (const scheme of [KEY, `Basic ${KEY}`, `Bearer${KEY}`, `Bearer\t${KEY}`, "Bearer", ""]) {
      expect(identify({ authorization: scheme }), scheme).toBe("api_key_invalid");
    }
  });

  it("a Bearer header names a caller when, and only when, the key and nothing else follows the word", () => {
    const text = fc.string({ unit: fc.constantFrom(" ", "a", "\t", ",", "Bearer", KEY, "=") });
    fc.assert(
      fc.property(text, (header) => {
        const isKey =
          header.toLowerCase().startsWith("bearer ") && header.slice(7).replace(/^ +/, "") === KEY;
        expect(identify({ authorization: header })).toBe(isKey ? "a" : "api_key_invalid");
      }),
    );
  });

  it("SEC-08 keys are compared by digest, in constant time, and all of them", () => {
    const textOf = (file: string) => readFileSync(new URL(`../../src/${file}`, import.meta.url), "utf8");
    const compared = [...textOf("http/authenticate.ts").matchAll(/[!=]==? *([\w.]+)/g)].map(
      ([, right]) => right,
    );
    // `text` is what the same request says in another place.
    expect(compared.filter((right) => right !== "undefined")).toEqual(["text"]);
    expect(textOf("keys/key-ring.ts")).toMatch(
      /for \(const key of this\.#byId\.values\(\)\) if \(timingSafeEqual\(digest, key\.digest\)\) found = key;\n/,
    );
  });

  it("SEC-61 ten thousand wrong keys from as many addresses leave no more than the limiter may hold", () => {
    const own = new Authenticator(RING);
    const wrong = (from: string) => {
      try {
        own.identify({ headers: { "x-api-key": "wrong" } } as never, undefined, from);
      } catch (error) {
        return (error as GatewayError).reason;
      }
      return undefined;
    };
    for (let count = 0; count < 11; count += 1) wrong("first");
    expect(wrong("first")).toBe("auth_rate_limited");
    for (let count = 0; count < 10_000; count += 1) wrong(`other-${count}`);
    // The oldest was forgotten to make room, so the memory is bounded.
    expect(wrong("first")).toBe("api_key_invalid");
  });
});

describe("what is told of credentials", () => {
  const told: GatewayEvent[] = [];
  const authenticator = new Authenticator(RING, { events: { emit: (event) => told.push(event) } });
  const showing = (headers: Record<string, string>, queryKey: string | undefined, address: string) => {
    told.length = 0;
    try {
      return authenticator.identify({ headers } as never, queryKey, address);
    } catch (error) {
      return (error as GatewayError).reason;
    }
  };

  it("names the caller, the key, and where it was shown", () => {
    const bearer = { authorization: `Bearer ${KEY}` };
    expect(showing(bearer, KEY, "1")).toEqual({ name: "a", key: "e_a", shown: "bearer" });
    expect(showing({ "x-api-key": OTHER_KEY }, OTHER_KEY, "1")).toEqual({
      ...{ name: "b", key: "e_b" },
      shown: "x_api_key",
    });
    expect(showing({}, KEY, "1")).toEqual({ name: "a", key: "e_a", shown: "query" });
    expect(told).toEqual([]);
  });

  it("tells of each wrong one, where from and how, and never what it was", () => {
    const refused = { type: "credential_refused", reason: "api_key_invalid" };
    expect(showing({ authorization: "Bearer canary" }, undefined, "2")).toBe("api_key_invalid");
    expect(told).toEqual([{ ...refused, shown: "bearer", address: "2" }]);
    showing({ "x-api-key": "canary" }, undefined, "2");
    expect(told).toEqual([{ ...refused, shown: "x_api_key", address: "2" }]);
    showing({}, "canary", "2");
    expect(told).toEqual([{ ...refused, shown: "query", address: "2" }]);
    authenticator.countFailure("2", "session_token", "session_not_found");
    expect(told.at(-1)).toMatchObject({ reason: "session_not_found", shown: "session_token" });
    showing({}, undefined, "2");
    expect(told).toEqual([]);
  });

  it("tells of ten an address and minute, and that it is too many, and then nothing", () => {
    const reasons = Array.from({ length: 30 }, () => {
      showing({}, "wrong", "3");
      return told.map((event) => "reason" in event && event.reason);
    });
    expect(reasons.flat()).toEqual([...Array<string>(10).fill("api_key_invalid"), "auth_rate_limited"]);
    showing({}, "wrong", "4");
    expect(told, "another address is told of").toHaveLength(1);
  });
});

describe("a caller's keys", () => {
  it("SEC-02 every wrong key gets the same answer, byte for byte", async () => {
    const gateway = await startTestGateway();
    const wrong = [
      KEY.slice(1),
      `${KEY}%20`,
      KEY.toUpperCase(),
      "x",
      "x".repeat(4000),
      `"${KEY}"`,
      `\xc3\xa9${KEY}`,
    ];
    const answers = [];
    for (const key of wrong) {
      const answer = await exchange(gateway.port, rawRequest("GET /mcp/sse", { "X-API-Key": key }));
      expectRefusal(answer, "api_key_invalid");
      answers.push(sameBytes(answer));
    }
    expect(new Set(answers).size).toBe(1);
    expect(answers[0]).toContain('WWW-Authenticate: Bearer realm="mcp-sse-gateway", error="invalid_token"');
    await gateway.close();
  });

  it("SEC-03 a repeated key header or parameter is refused", async () => {
    const gateway = await startTestGateway();
    const twice = rawRequest("GET /mcp/sse", [`X-API-Key: ${KEY}`, `X-API-Key: ${KEY}`]);
    expectRefusal(await exchange(gateway.port, twice), "repeated_header");
    const query = rawRequest(`GET /mcp/sse?apiKey=${KEY}&apiKey=${KEY}`);
    expectRefusal(await exchange(gateway.port, query), "bad_query");
    const array = rawRequest(`GET /mcp/sse?apiKey[]=${KEY}`);
    expectRefusal(await exchange(gateway.port, array), "api_key_missing");
    await gateway.close();
  });

  it("SEC-07 another key of the same caller posts to a session that the first one opened", async () => {
    const second = "second-key-of-the-default-caller-0123456789";
    const gateway = await startTestGateway({ env: { MCP_API_KEYS: `default=${second},other=${OTHER_KEY}` } });
    const stream = await openTestStream(gateway.url);
    const target = targetOf(stream).split("&")[0] as string;
    const post = (key: string) =>
      rawRequest(`POST ${target}`, ["Content-Type: application/json", `X-API-Key: ${key}`], PING);
    expect((await exchange(gateway.port, post(second))).status).toBe(202);
    expectRefusal(await exchange(gateway.port, post(OTHER_KEY)), "session_not_found");
    await gateway.close();
  });

  it("SEC-24 a token that another caller makes with its own key opens nobody else's session", async () => {
    const gateway = await startTestGateway();
    const stream = await openTestStream(gateway.url, { headers: { "X-API-Key": KEY } });
    const id = stream.sessionId;
    const given = new URL(targetOf(stream), gateway.url).searchParams.get("token") as string;
    const keys = loadConfig({ MCP_API_KEY: KEY, MCP_API_KEYS: `other=${OTHER_KEY}` }).keys;
    const [mine, other] = keys.map((key) => new PostTokens(new KeyRing([key])).for(id, key.id));
    expect(given, "it is made of nothing but the key").toBe(mine);
    const post = (token: string) =>
      rawRequest(`POST /messages?sessionId=${id}&token=${token}`, ["Content-Type: application/json"], PING);
    expectRefusal(await exchange(gateway.port, post(other as string)), "session_not_found");
    expect((await exchange(gateway.port, post(given))).status).toBe(202);
    stream.cut();
    await gateway.close();
  });
});
