// The cost of the framework: the bare echo on Express 5, with nothing of MCP in it.
import { randomUUID } from "node:crypto";
import process from "node:process";
import express from "express";
import { answerTo } from "./echo-answers.mjs";

const streams = new Map();
const app = express();
app.disable("etag");
app.disable("x-powered-by");

app.get("/mcp/sse", (_req, res) => {
  const id = randomUUID();
  streams.set(id, res);
  res.on("close", () => streams.delete(id));
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  res.write(`event: endpoint\ndata: /messages?sessionId=${id}\n\n`);
});

// A limit of 1 MB, not express.json's 100 kB, so that a run with 64 KB texts passes.
app.post("/messages", express.json({ limit: "1mb" }), (req, res) => {
  const stream = streams.get(req.query.sessionId);
  if (stream === undefined) {
    res.status(404).end();
    return;
  }
  res.status(202).send("Accepted");
  const answer = answerTo(req.body);
  if (answer !== undefined) stream.write(`event: message\ndata: ${answer}\n\n`);
});

const server = app.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  process.stdout.write(`${JSON.stringify({ ready: true, port: server.address().port })}\n`);
});
