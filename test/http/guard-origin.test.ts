import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GatewayError } from "../../src/errors.ts";
import { createOriginGuard, hostName } from "../../src/http/guard-origin.ts";
import { exchange, rawRequest } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal, targetOf } from "./refusal.ts";

const GOOD = "https://good.example";
const JSON_TYPE = "Content-Type: application/json";
const own = `X-API-Key: ${KEY}`;

/** What the guard says of these headers, under the rules of a gateway at `gateway.example` for pages of `good.example`. */
function verdict(
  headers: { origin?: string; host?: string },
  allowedHosts = ["gateway.example", "[::1]"],
): string {
  const guard = createOriginGuard({ allowedOrigins: [GOOD], allowedHosts });
  try {
    guard({ headers } as never);
    return "pass";
  } catch (error) {
    return (error as GatewayError).reason;
  }
}

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("origins and hosts, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  let stream: TestStream;
  const env = { ALLOWED_ORIGINS: GOOD, ALLOWED_HOSTS: "127.0.0.1,gateway.example" };
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath, env });
    stream = await openTestStream(gateway.url);
  });
  afterAll(() => gateway.close());
  const post = (headers: string[], body = '{"jsonrpc":"2.0","method":"notifications/x"}') =>
    exchange(gateway.port, rawRequest(`POST ${targetOf(stream)}`, headers, body));

  it("SEC-50 a program, which sends no Origin, is let in", async () => {
    expect((await post([JSON_TYPE, own])).status).toBe(202);
  });

  it("SEC-52 a page of an allowed origin may call, and is told so exactly", async () => {
    const answer = await post([JSON_TYPE, own, `Origin: ${GOOD}`]);
    expect(answer.status).toBe(202);
    expect(answer.headers["access-control-allow-origin"]).toBe(GOOD);
    expect(answer.headers["vary"]).toBe("Origin");
    expect(answer.headers["access-control-expose-headers"]).toContain("Mcp-Session-Id");
    expect(answer.headers).not.toHaveProperty("access-control-allow-credentials");
    const refused = await post([JSON_TYPE, own, `Origin: ${GOOD}`], "{}");
    expectRefusal(refused, "invalid_message");
    expect(refused.headers["access-control-allow-origin"]).toBe(GOOD);
  });

  it("SEC-52 its preflight is answered without a key", async () => {
    const asks = { Origin: GOOD, "Access-Control-Request-Method": "POST" };
    const answer = await exchange(gateway.port, rawRequest("OPTIONS /messages", asks));
    expect(answer.status).toBe(204);
    expect(answer.headers["access-control-allow-origin"]).toBe(GOOD);
    expect(answer.headers["access-control-allow-methods"]).toBe("GET,POST,DELETE");
    const allowed = answer.headers["access-control-allow-headers"]?.split(",");
    const needed = [
      "Authorization",
      "X-API-Key",
      "Content-Type",
      "Mcp-Session-Id",
      "Mcp-Protocol-Version",
      "Last-Event-ID",
    ];
    expect(allowed).toEqual(expect.arrayContaining(needed));
  });

  it.each([
    "null",
    "https://evil.example",
    "https://good.example.evil.com",
    "https://good.example:444",
    "https://good.example.",
    "https://GOOD.example",
    "http://good.example",
    "https://user@good.example",
    "https://good.example, https://good.example",
    "*",
    "",
  ])(
    "SEC-53 BAD-07 origin %j is refused before the key and the body, with no CORS header",
    async (origin) => {
      for (const request of [
        rawRequest(`POST ${targetOf(stream)}`, [JSON_TYPE, own, `Origin: ${origin}`], "{}"),
        rawRequest("GET /mcp/sse", [`X-API-Key: wrong`, `Origin: ${origin}`]),
        rawRequest("OPTIONS /messages", [`Origin: ${origin}`, "Access-Control-Request-Method: POST"]),
        rawRequest("GET /.well-known/oauth-authorization-server", [`Origin: ${origin}`]),
      ]) {
        const answer = await exchange(gateway.port, request);
        expectRefusal(answer, "origin_not_allowed");
        expect(answer.head.toLowerCase()).not.toContain("access-control");
      }
    },
  );

  it("SEC-54 what a page can post without asking is refused, with an Origin and without", async () => {
    const text = "Content-Type: text/plain";
    expectRefusal(await post([text, own, "Origin: https://evil.example"]), "origin_not_allowed");
    expectRefusal(await post([text]), "unsupported_media_type");
  });

  it("SEC-55 a host that is not listed is refused, but for health", async () => {
    for (const host of ["evil.example", "127.0.0.1.evil.example", "localhost", "[::1]:3000"]) {
      expectRefusal(await post([JSON_TYPE, `Host: ${host}`]), "host_not_allowed");
      const get = rawRequest("GET /mcp/sse", [own, `Host: ${host}`]);
      expectRefusal(await exchange(gateway.port, get), "host_not_allowed");
      const health = await exchange(gateway.port, rawRequest("GET /health", [`Host: ${host}`]));
      expect(health.status).toBe(200);
    }
    expect((await post([JSON_TYPE, "Host: GATEWAY.example:8443"])).status).toBe(202);
  });

  it("SEC-56 X-Forwarded-Host and Forwarded change nothing", async () => {
    const forged = ["X-Forwarded-Host: gateway.example", "Forwarded: host=gateway.example"];
    expectRefusal(await post([JSON_TYPE, "Host: evil.example", ...forged]), "host_not_allowed");
    expect((await post([JSON_TYPE, "X-Forwarded-Host: evil.example"])).status).toBe(202);
  });
});

it("SEC-51 with no settings every Origin is refused before key and body", async () => {
  const gateway = await startTestGateway();
  for (const origin of ["https://good.example", `http://127.0.0.1:${gateway.port}`, "null", "file://"]) {
    const request = rawRequest("POST /messages?sessionId=x", [`Origin: ${origin}`, "Content-Length: 100"]);
    expectRefusal(await exchange(gateway.port, request), "origin_not_allowed");
  }
  await gateway.close();
});

it("SEC-55 Railway's own names join the listed hosts", async () => {
  const env = { ALLOWED_HOSTS: "gateway.example", RAILWAY_PUBLIC_DOMAIN: "x.up.railway.app" };
  const gateway = await startTestGateway({ env });
  const to = (host: string) => exchange(gateway.port, rawRequest("GET /", [`Host: ${host}`]));
  expect((await to("x.up.railway.app")).status).toBe(200);
  expectRefusal(await to("y.up.railway.app"), "host_not_allowed");
  await gateway.close();
});

describe("the matcher", () => {
  it("lets a listed host in whatever its port and letters, and no other spelling of it", () => {
    for (const host of ["gateway.example", "Gateway.EXAMPLE", "gateway.example:1", "[::1]:65535"])
      expect(verdict({ host }), host).toBe("pass");
    const broken = [
      "",
      " ",
      "gateway.example.",
      "gateway.example:",
      "gateway.example:1:2",
      "a@gateway.example",
      "gateway..example",
      ".gateway.example",
      "gateway.example/x",
      "gateway.example, x",
      "[::1",
      "::1",
      "[::1%25eth0]",
      "gatew\u00e4y.example",
      "gateway.example:123456",
    ];
    for (const host of broken) expect(verdict({ host }), host).toBe("bad_host");
    for (const host of ["xn--gatewy-fua.example", "[::2]", "127.0.0.1", "2130706433", "0x7f.1"])
      expect(verdict({ host }), host).toBe("host_not_allowed");
  });

  it("never lets in an origin that is not one of the listed texts", () => {
    const near = fc.oneof(
      fc.webUrl(),
      fc.string().map((text) => GOOD + text),
      fc.string().map((text) => text + GOOD),
      fc.mixedCase(fc.constant(GOOD)),
      fc.integer({ min: 0, max: 65_535 }).map((port) => `${GOOD}:${port}`),
      fc.ipV6().map((address) => `https://[${address}]`),
      fc.constantFrom("null", "https://good.example.", "https://a@good.example", "https://g\u00f6od.example"),
    );
    fc.assert(
      fc.property(near, (origin) => {
        const expected = origin === GOOD ? "pass" : "origin_not_allowed";
        expect(verdict({ origin, host: "gateway.example" })).toBe(expected);
      }),
    );
  });

  it("reads the same name out of a Host header as a URL parser does, or refuses it", () => {
    const host = fc.oneof(
      fc.domain(),
      fc.ipV4(),
      fc.ipV6().map((text) => `[${text}]`),
      fc.string(),
    );
    const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined });
    fc.assert(
      fc.property(host, port, (name, number) => {
        const header = number === undefined ? name : `${name}:${number}`;
        const read = hostName(header);
        if (read === undefined || !URL.canParse(`http://${header}/`)) return;
        const { hostname } = new URL(`http://${header}/`);
        // A URL parser writes addresses in one form of many; of names there is one.
        if (/[a-z]/i.test(read.at(-1) as string)) expect(hostname).toBe(read);
        expect(header.toLowerCase().startsWith(read)).toBe(true);
      }),
    );
    fc.assert(
      fc.property(fc.domain(), (name) => {
        expect(hostName(name)).toBe(name.toLowerCase());
      }),
    );
  });
});
