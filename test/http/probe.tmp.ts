import { startTestGateway, KEY, OTHER_KEY } from "/work/main/test/support/start-gateway.ts";
import { openTestStream } from "/work/main/test/support/sse-client.ts";
import { openRaw, exchange, rawRequest } from "/work/main/test/support/raw-http.ts";
process.on("uncaughtException", (e) => console.log("!!! UNCAUGHT", e.message, e.stack?.split("\n").slice(1,4).join("|")));
process.on("unhandledRejection", (e) => console.log("!!! UNHANDLED", e));
const g = await startTestGateway();
const short = (a: any) => `${a.status} ${a.headers.connection ?? ""} rid=${a.headers["x-request-id"] ?? "-"} ${a.body.slice(0, 120)}`;
const p = async (name: string, bytes: string | Buffer) => {
  try { console.log(name, "→", short(await exchange(g.port, bytes))); } catch (e) { console.log(name, "→ ERR", (e as Error).message.slice(0, 200)); }
};
await p("no host", "GET /health HTTP/1.1\r\n\r\n");
await p("no host sse", "GET /mcp/sse HTTP/1.1\r\n\r\n");
await p("HTTP/2.0", rawRequest("GET /mcp/sse HTTP/2.0", {"x-api-key": KEY}));
await p("h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
await p("tls", Buffer.from([0x16,3,1,2,0,1,0,1,0xfc,3,3]));
await p("lower", rawRequest("get /health"));
await p("unknown method", rawRequest("FOO /health"));
await p("well-known zz", rawRequest("GET /.well-known/%zz"));
await p("zz", rawRequest("GET /%zz"));
await p("hash", rawRequest("GET /mcp\\sse#", {"x-api-key": KEY}));
await p("expect foo", rawRequest("POST /messages", {"x-api-key": KEY, expect: "foo"}, "{}"));
await p("431", `GET /health HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(20000)}\r\n\r\n`);
await p("431 big", `GET /health HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(2000000)}\r\n\r\n`);
await p("413 declared big sent", rawRequest("POST /messages?sessionId=x", {"x-api-key": KEY}, "x".repeat(50_000_000)));
await p("POST /mcp/sse query key", rawRequest(`POST /mcp/sse?apiKey=${KEY}`));
await p("TE gzip", rawRequest("POST /messages", {"transfer-encoding": "gzip, chunked"}));
await p("OPTIONS *", rawRequest("OPTIONS *"));
await p("CONNECT", rawRequest("CONNECT a:80"));
await p("preflight foreign", rawRequest("OPTIONS /messages", {origin: "https://e.example", "access-control-request-method": "POST"}));
{ // CONNECT + RST
  const c = openRaw(g.port); c.send(rawRequest("CONNECT a:80")); await c.answer(); console.log("connect: ended", await Promise.race([c.ended, new Promise(r => setTimeout(r, 500, "no"))])); c.socket.resetAndDestroy(); await new Promise(r => setTimeout(r, 200));
}
{ // garbage, never close
  const c = openRaw(g.port); c.send("garbage\r\n\r\n"); await c.answer(); await c.ended;
  const n = await new Promise(r => (g.gateway as any) && setTimeout(r, 300)); 
}
{ // pipelined expect
  const s = await openTestStream(g.url);
  const c = openRaw(g.port);
  c.send(Buffer.concat([rawRequest(`POST ${new URL(s.endpoint).pathname}${new URL(s.endpoint).search}`, {"content-type": "application/json"}, '{"jsonrpc":"2.0","id":1,"method":"ping"}'), rawRequest("POST /messages", {expect: "foo"}, "{}")]));
  await new Promise(r => setTimeout(r, 300)); console.log("pipelined expect:", c.rest());
  s.cut();
}
{ // garbage into stream
  const c = openRaw(g.port); c.send(rawRequest("GET /mcp/sse", {"x-api-key": KEY})); await c.answer(); await c.until("token="); c.send("garbage\r\n\r\n"); await new Promise(r => setTimeout(r, 300)); console.log("garbage in stream:", JSON.stringify(c.rest()), await Promise.race([c.ended, "open"]));
}
{ // pipelined GETs
  const c = openRaw(g.port); for (let i = 0; i < 10; i++) c.send(rawRequest("GET /mcp/sse", {"x-api-key": KEY})); await c.answer(); await new Promise(r => setTimeout(r, 100));
  const r1 = await (await fetch(`${g.url}/health/ready`)).json(); c.close(); await new Promise(r => setTimeout(r, 200));
  console.log("pipelined GETs", r1, await (await fetch(`${g.url}/health/ready`)).json());
}
{ // GET with big body then close
  const c = openRaw(g.port); c.send(rawRequest("GET /mcp/sse", {"x-api-key": KEY, "content-length": "100000000"})); await c.answer(); c.send(Buffer.alloc(5_000_000)); await new Promise(r => setTimeout(r, 200)); c.socket.end(); c.close(); await new Promise(r => setTimeout(r, 300));
  console.log("GET with body", await (await fetch(`${g.url}/health/ready`)).json());
}
for (const size of [5_000_000, 50_000_000]) for (let i = 0; i < 3; i++) {
  const s = await openTestStream(g.url);
  await s.post("x".repeat(size)).then(async (r) => console.log("fetch 413", r.status, (await r.text()).slice(0, 40)), (e) => console.log("fetch 413 ERR", e.cause?.message ?? e.message));
  s.cut();
}
console.log("alive", (await fetch(`${g.url}/health`)).status);
await g.close();
console.log(g.logText().split("\n").filter(l => /error|fatal/.test(l)).slice(0, 5).join("\n"));
process.exit(0);
