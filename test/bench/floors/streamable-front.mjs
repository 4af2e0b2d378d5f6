import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import process from "node:process";

/**
 * The thinnest Streamable HTTP front: one route, answers as plain JSON. It has no authentication, limits, heartbeat or
 * back-pressure and is no example to follow; a POST of `null` may kill it.
 *
 * `open()` is called at each `initialize` and returns what takes a session's parsed requests, each with the response
 * that `answerJson` ends, and its notifications, with none.
 */
export function serveStreamable(open) {
  const sessions = new Map();

  function takeMessage(req, res, body) {
    const message = JSON.parse(body);
    let session;
    if (message.method === "initialize") {
      const id = randomUUID();
      session = open();
      sessions.set(id, session);
      res.setHeader("Mcp-Session-Id", id);
    } else {
      session = sessions.get(req.headers["mcp-session-id"]);
    }
    if (session === undefined) {
      res.writeHead(404).end();
    } else if (message.id === undefined) {
      res.writeHead(202).end();
      session.take(message);
    } else {
      session.take(message, res);
    }
  }

  const server = createServer((req, res) => {
    if (req.method === "GET") {
      // Held open, as a client that waits for the server's own messages has it; none come.
      res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
      res.flushHeaders();
      return;
    }
    let body = "";
    req.setEncoding("utf8");
    req.on("data", (chunk) => (body += chunk));
    req.on("end", () => takeMessage(req, res, body));
  });
  server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
    process.stdout.write(`${JSON.stringify({ ready: true, port: server.address().port })}\n`);
  });
}

export function answerJson(res, text) {
  res
    .writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) })
    .end(text);
}
