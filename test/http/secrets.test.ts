import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { openRaw, rawRequest } from "../support/raw-http.ts";
import { openTestStream } from "../support/sse-client.ts";
import { startTestGateway } from "../support/start-gateway.ts";
import { targetOf } from "./refusal.ts";

const canary = (what: string) => `canary-${what}-${"7f3a9c51e8d2b604".repeat(2)}`;
const CANARIES = ["key", "other", "wrong", "token", "body", "header"].map(canary);
const [KEY, OTHER, WRONG, TOKEN, BODY, HEADER] = CANARIES as [string, string, string, string, string, string];
const JSON_TYPE = "Content-Type: application/json";

/** Every form in which a secret might come through: as it is, in URLs, in hex and in base64 at each of three offsets. */
function formsOf(secret: string): string[] {
  const base64 = [0, 1, 2].map((offset) =>
    Buffer.concat([Buffer.alloc(offset), Buffer.from(secret)])
      .toString("base64")
      .slice(4, -4),
  );
  const url = base64.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"));
  const hex = Buffer.from(secret).toString("hex");
  // The tail alone would give it away as well.
  return [secret.slice(-20), encodeURIComponent(secret), hex, hex.toUpperCase(), ...base64, ...url].map(
    (form) => form,
  );
}

const source = (path: string) => readFileSync(new URL(`../../src/${path}`, import.meta.url), "utf8");

it.each([true, false])(
  "SEC-20 SEC-21 SEC-22 no key, token or body is in any log line, answer, event or child, thin path %s",
  async (thinPath) => {
    const prints = fileURLToPath(new URL("../fixtures/prints-environment.mjs", import.meta.url));
    const gateway = await startTestGateway({
      thinPath,
      command: [process.execPath, prints],
      env: { MCP_API_KEY: KEY, MCP_API_KEYS: `other=${OTHER}`, LOG_LEVEL: "trace" },
    });
    const headers = { "x-api-key": KEY, "x-marker": HEADER, "user-agent": "test" };
    const stream = await openTestStream(gateway.url, { headers });
    const byQuery = await openTestStream(gateway.url, {
      headers: {},
      path: `/mcp/sse?apiKey=${KEY}&x=${HEADER}`,
    });
    const own = targetOf(stream);
    const post = (target: string, more: string[], body: string | Buffer) =>
      rawRequest(`POST ${target}`, [JSON_TYPE, `X-Marker: ${HEADER}`, ...more], body);
    const call = (method: string) =>
      JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { text: BODY } });
    const at = own.split("&")[0] as string;
    const requests = [
      rawRequest("GET /mcp/sse", [`X-API-Key: ${WRONG}`]),
      rawRequest("GET /mcp/sse", [`Authorization: Bearer ${WRONG}`]),
      rawRequest("GET /mcp/sse", [`Authorization: Basic ${btoa(`x:${KEY}`)}`]),
      rawRequest("GET /mcp/sse", [`X-API-Key: ${KEY}`, `Authorization: Bearer ${WRONG}`]),
      rawRequest(`GET /mcp/sse?apiKey=${WRONG}`),
      rawRequest(`GET /mcp/sse?apiKey=${KEY}&apiKey=${WRONG}`),
      rawRequest(`GET /mcp/sse?api_key=${KEY}&key=${KEY}&token=${KEY}`),
      rawRequest(`GET /mcp/sse&apiKey=${KEY}`),
      rawRequest(`GET /mcp/sse%3FapiKey=${KEY}`),
      rawRequest(`GET /mcp/sse/${KEY}`),
      rawRequest(`GET /${encodeURIComponent(`${KEY}=`)}%zz`),
      rawRequest(`GET /.well-known/${KEY}`),
      rawRequest(`GET http://x:${KEY}@127.0.0.1/mcp/sse?apiKey=${KEY}`),
      rawRequest(`CONNECT ${KEY}:443`),
      rawRequest("GET /mcp/sse", [`Origin: https://${HEADER}.example`]),
      rawRequest("GET /mcp/sse", [`Host: ${HEADER}!`]),
      rawRequest("GET /mcp/sse", [`X-API-Key: ${KEY}`, `Accept: ${HEADER}`]),
      `GET /mcp/sse?apiKey=${KEY} HTTP/1.1\r\nHost : ${KEY}\r\n\r\n`,
      `GET /mcp/sse?apiKey=${KEY} HTTP/1.0\r\nX-API-Key: ${KEY}\r\n\r\n`,
      post(`${at}&token=${TOKEN}`, [], call("ping")),
      post(`/messages?sessionId=${TOKEN}`, [`X-API-Key: ${OTHER}`], call("ping")),
      post(at, [`X-API-Key: ${OTHER}`], call("ping")),
      post(own, [`Content-Type: ${HEADER}`], call("ping")),
      post(own, [], `{"text":"${BODY}"`),
      post(own, [], `{"jsonrpc":"2.0","id":"${BODY}","method":"rpc.${BODY}"}`),
      post(own, ["Content-Encoding: gzip"], gzipSync(BODY)),
      post(own, [`X-API-Key: ${KEY}`], call("first")),
      post(own, [`X-API-Key: ${KEY}`], call(`second/${BODY}`.slice(0, 200))),
    ];
    const answers: string[] = [];
    for (const request of requests) {
      const connection = openRaw(gateway.port);
      connection.send(request);
      const { head, body } = await connection.answer();
      answers.push(head, body);
      connection.close();
    }
    expect(answers.filter((text) => text.startsWith("HTTP/1.1 202"))).toHaveLength(1);
    const environment = await stream.next(({ method }) => method === "environment");
    const shown = {
      answers: answers.join("\n"),
      events: JSON.stringify([stream.events, stream.comments, byQuery.events, stream.response.rawHeaders]),
      environment: JSON.stringify(environment),
      logs: "",
    };
    const arguments_ = readdirSync("/proc")
      .filter((entry) => /^\d+$/.test(entry))
      .map(
        (pid) => [pid, readOrNothing(`/proc/${pid}/status`), readOrNothing(`/proc/${pid}/cmdline`)] as const,
      )
      .filter(([, status]) => status.includes(`PPid:\t${process.pid}\n`))
      .map(([pid, , line]) => line + readOrNothing(`/proc/${pid}/environ`));
    expect(arguments_.join("")).toContain("prints-environment");
    await gateway.close();
    shown.logs = gateway.logText();
    expect(shown.logs).toContain('"reason":"not_found"');
    for (const [where, text] of [...Object.entries(shown), ["children", arguments_.join("\n")] as const]) {
      for (const secret of CANARIES) {
        for (const form of formsOf(secret)) expect(text.includes(form), `${form} in ${where}`).toBe(false);
      }
    }
  },
  20_000,
);

it("SEC-23 the endpoint carries a token of its own, never the key, and tells the next site nothing", async () => {
  const gateway = await startTestGateway({ env: { MCP_API_KEY: KEY } });
  const stream = await openTestStream(gateway.url, { headers: {}, path: `/mcp/sse?apiKey=${KEY}` });
  const data = stream.events[0]?.data as string;
  expect(data).toMatch(/^\/messages\?sessionId=[0-9a-f-]{36}&token=\w{1,14}-[\w-]{43}$/);
  for (const form of formsOf(KEY)) expect(data).not.toContain(form);
  expect(stream.response.headers).toMatchObject({
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache, no-store, no-transform",
    "content-type": "text/event-stream",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
  });
  expect(stream.response.headers["content-length"]).toBeUndefined();
  expect(stream.response.headers["location"]).toBeUndefined();
  await gateway.close();
});

it("SEC-45 nothing of a request reaches the command line or the environment of a child", async () => {
  const args = fileURLToPath(new URL("../fixtures/prints-arguments.mjs", import.meta.url));
  const gateway = await startTestGateway({ command: [process.execPath, args, "a b", ";$(touch x)"] });
  const path = `/mcp/sse?args=${HEADER}&env=${HEADER}&command=${HEADER}&server=${HEADER}`;
  const headers = {
    "x-api-key": "test-key-of-the-default-caller-0123456789",
    "x-mcp-args": HEADER,
    cookie: HEADER,
  };
  const stream = await openTestStream(gateway.url, { path, headers });
  const params = { args: [HEADER], env: { HEADER }, command: HEADER };
  await stream.post({ jsonrpc: "2.0", id: 1, method: "initialize", params }, { "x-marker": HEADER });
  const told = await stream.next(({ method }) => method === "arguments");
  expect(told.params).toEqual(["a b", ";$(touch x)"]);
  await gateway.close();
});

it("SEC-45 no program is started through a shell, and only in one place", () => {
  const files = readdirSync(new URL("../../src", import.meta.url), { recursive: true, encoding: "utf8" });
  const starters = files.filter((file) => file.endsWith(".ts") && /node:child_process/.test(source(file)));
  expect(starters).toEqual(["upstream/child.ts"]);
  expect(source("upstream/child.ts")).not.toMatch(/shell: (?!false)|\bexec(Sync|File)?\(/);
});

it("SEC-16 session ids and post tokens come from a CSPRNG", () => {
  expect(source("session/seats.ts")).toMatch(/const id = randomUUID\(\)/);
  expect(source("session/sessions.ts")).toMatch(/\bid = randomUUID\(\)/);
  const ids = new Set(Array.from({ length: 100_000 }, () => crypto.randomUUID()));
  expect(ids.size).toBe(100_000);
});

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
