import { request as send } from "node:http";
import request from "supertest";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { describe, expect, it, onTestFinished } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { answerError } from "../../src/http/answer.ts";
import { createMetricsRoute, listenForMetrics } from "../../src/http/metrics.ts";
import { silent } from "../session/scripted.ts";

const TOKEN = "metrics-token-of-32-characters-x";
const BODY = "# HELP a b\n# TYPE a gauge\na 1\n";
const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";
const scrape = () => Promise.resolve({ contentType: CONTENT_TYPE, body: BODY });

/** A server of the route alone, which answers its faults as the gateway does. */
function routeWith(parts: Partial<Parameters<typeof createMetricsRoute>[0]> = {}) {
  const route = createMetricsRoute({ scrape, token: TOKEN, ...parts });
  return createServer((req: IncomingMessage, res: ServerResponse) => {
    Promise.resolve(route(req, res)).catch((error: unknown) => answerError(req, res, error, silent));
  });
}

async function listening(read = scrape) {
  const opened = await listenForMetrics({ port: 0, host: "127.0.0.1", scrape: read, log: silent });
  onTestFinished(() => opened.close());
  return { ...opened, url: `http://127.0.0.1:${opened.port}` };
}

describe("/metrics on the main port", () => {
  it("answers who shows the token", async () => {
    const answer = await request(routeWith()).get("/metrics").set("Authorization", `Bearer ${TOKEN}`);
    expect([answer.status, answer.text]).toEqual([200, BODY]);
    expect(answer.headers).toMatchObject({ "content-type": CONTENT_TYPE, "cache-control": "no-store" });
    const head = await request(routeWith()).head("/metrics").set("Authorization", `bearer  ${TOKEN}`);
    expect([head.status, head.text, head.headers["content-length"]]).toEqual([
      200,
      undefined,
      String(BODY.length),
    ]);
  });

  it.each([
    ["nothing", {}, "api_key_missing"],
    ["the token as an API key", { "X-API-Key": TOKEN }, "api_key_missing"],
    ["another scheme", { Authorization: `Basic ${TOKEN}` }, "api_key_missing"],
    ["a client's key", { Authorization: "Bearer client-key" }, "api_key_invalid"],
    ["no token", { Authorization: "Bearer " }, "api_key_missing"],
    ["a part of it", { Authorization: `Bearer ${TOKEN.slice(1)}` }, "api_key_invalid"],
    ["more than it", { Authorization: `Bearer ${TOKEN}x` }, "api_key_invalid"],
  ])("refuses who shows %s", async (_, headers, reason) => {
    const answer = await request(routeWith())
      .get(`/metrics?token=${TOKEN}`)
      .set(headers as Record<string, string>);
    expect([answer.status, answer.body.reason]).toEqual([401, reason]);
    expect(answer.headers["www-authenticate"]).toMatch(/^Bearer /);
    expect(answer.text).not.toContain(TOKEN);
  });

  it("counts who guesses, and may refuse them for that", async () => {
    let tried = 0;
    const countFailure = () => {
      tried += 1;
      if (tried > 2) throw new GatewayError("auth_rate_limited");
    };
    const server = routeWith({ countFailure });
    const statuses = [];
    for (const shown of ["one", "two", "three", TOKEN]) {
      const answer = await request(server).get("/metrics").set("Authorization", `Bearer ${shown}`);
      statuses.push(answer.status);
    }
    expect([statuses, tried]).toEqual([[401, 401, 429, 200], 3]);
  });

  it("answers 500 and tells nothing when metrics cannot be read", async () => {
    const broken = () => Promise.reject(new Error("secret"));
    const answer = await request(routeWith({ scrape: broken }))
      .get("/metrics")
      .set("Authorization", `Bearer ${TOKEN}`);
    expect([answer.status, answer.body.reason]).toEqual([500, "internal"]);
    expect(answer.text).not.toContain("secret");
  });
});

describe("/metrics on a port of its own", () => {
  it("answers without a key, GET and HEAD", async () => {
    const { url } = await listening();
    const answer = await fetch(`${url}/metrics?x=1`);
    expect([answer.status, answer.headers.get("content-type"), await answer.text()]).toEqual([
      200,
      CONTENT_TYPE,
      BODY,
    ]);
    const head = await fetch(`${url}/metrics`, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([
      200,
      String(BODY.length),
      "",
    ]);
  });

  it.each([
    ["GET", "/", 404, "not_found"],
    ["GET", "/mcp/sse", 404, "not_found"],
    ["POST", "/mcp", 404, "not_found"],
    ["GET", "/health", 404, "not_found"],
    ["GET", "/metrics/", 404, "not_found"],
    ["POST", "/metrics", 405, "method_not_allowed"],
    ["OPTIONS", "/metrics", 405, "method_not_allowed"],
  ])("has nothing else: %s %s", async (method, path, status, reason) => {
    const { url } = await listening();
    const answer = await fetch(url + path, { method, ...(method === "POST" ? { body: "{}" } : {}) });
    expect([answer.status, ((await answer.json()) as { reason: string }).reason]).toEqual([status, reason]);
    if (status === 405) expect(answer.headers.get("allow")).toBe("GET, HEAD");
  });

  it("answers 500 and goes on when metrics cannot be read", async () => {
    let asked = 0;
    const { url } = await listening(() =>
      (asked += 1) === 1 ? Promise.reject(new Error("secret")) : scrape(),
    );
    const broken = await fetch(`${url}/metrics`);
    expect([broken.status, await broken.text()]).toEqual([500, expect.not.stringContaining("secret")]);
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
  });

  it("rejects when its port is taken", async () => {
    const { port } = await listening();
    await expect(listenForMetrics({ port, host: "127.0.0.1", scrape, log: silent })).rejects.toMatchObject({
      code: "EADDRINUSE",
    });
  });

  it("cuts what is open when it closes, twice if it must", async () => {
    const { port, close } = await listening(() => new Promise(() => undefined));
    const hanging = send({ port, host: "127.0.0.1", path: "/metrics" });
    const cut = new Promise((resolve) => hanging.once("error", resolve));
    hanging.end();
    await new Promise((resolve) => hanging.once("socket", (socket) => socket.once("connect", resolve)));
    await Promise.all([close(), close()]);
    expect(await cut).toMatchObject({ code: "ECONNRESET" });
    await expect(fetch(`http://127.0.0.1:${port}/metrics`)).rejects.toThrow();
  });
});
