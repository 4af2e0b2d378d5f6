import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import process from "node:process";

const MESSAGES = "/messages?sessionId=";
const UUID_LENGTH = 36;

/**
 * The thinnest HTTP+SSE front: no authentication, limits, heartbeat or back-pressure. It says what cannot be avoided and
 * is no example to follow; a POST of `null` may kill it.
 *
 * `open(stream)` is called at the GET and returns what takes each parsed message and what hears that the stream closed.
 */
export function serveSse(open) {
  const sessions = new Map();

  function openStream(res) {
    const id = randomUUID();
    const session = open(res);
    sessions.set(id, session);
    res.on("close", () => {
      sessions.delete(id);
      session.close();
    });
    res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
    res.write(`event: endpoint\ndata: ${MESSAGES}${id}\n\n`);
  }

  function takeMessage(req, res) {
    const session = sessions.get(req.url.slice(MESSAGES.length, MESSAGES.length + UUID_LENGTH));
    if (session === undefined) {
      res.writeHead(404).end();
      return;
    }
    let body = "";
    req.setEncoding("utf8");
    req.on("data", (chunk) => (body += chunk));
    req.on("end", () => {
      const message = JSON.parse(body);
      res.writeHead(202, { "Content-Length": 8 }).end("Accepted");
      session.take(message);
    });
  }

  const server = createServer((req, res) => {
    if (req.method === "POST") takeMessage(req, res);
    else openStream(res);
  });
  server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
    process.stdout.write(`${JSON.stringify({ ready: true, port: server.address().port })}\n`);
  });
  return server;
}
