// What users have without a gateway: the SDK's own server on Express, one McpServer and one transport a session, as in
// the SDK's examples. Arguments: the transport, and the folder node_modules that holds the SDK.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";

const [transport, modules] = process.argv.slice(2);

// By path, so that the SDK, Express and zod are those of the folder and not this checkout's.
const load = (path) => import(pathToFileURL(join(modules, path)).href);

const SDK = "@modelcontextprotocol/sdk/dist/esm";
const { McpServer } = await load(`${SDK}/server/mcp.js`);
const { default: express } = await load("express/index.js");
const { z } = await load("zod/index.js");

const transports = new Map();
const app = express();
app.use(express.json());

function createServer() {
  const server = new McpServer({ name: "sdk-server", version: "1.0.0" });
  server.registerTool(
    "echo",
    {
      description: "Says the text back, and fills it up with x to a size",
      inputSchema: { text: z.string(), size: z.number().int().min(0).optional() },
    },
    ({ text, size = 0 }) => ({ content: [{ type: "text", text: text.padEnd(size, "x") }] }),
  );
  return server;
}

async function serveSse() {
  const { SSEServerTransport } = await load(`${SDK}/server/sse.js`);

  app.get("/sse", async (_req, res) => {
    const opened = new SSEServerTransport("/messages", res);
    transports.set(opened.sessionId, opened);
    opened.onclose = () => transports.delete(opened.sessionId);
    await createServer().connect(opened);
  });

  app.post("/messages", async (req, res) => {
    const found = transports.get(req.query.sessionId);
    if (found === undefined) res.status(404).send("Session not found");
    else await found.handlePostMessage(req, res, req.body);
  });
}

async function serveStreamable() {
  const { StreamableHTTPServerTransport } = await load(`${SDK}/server/streamableHttp.js`);

  async function open() {
    const opened = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => transports.set(id, opened),
    });
    opened.onclose = () => transports.delete(opened.sessionId);
    await createServer().connect(opened);
    return opened;
  }

  app.all("/mcp", async (req, res) => {
    const id = req.headers["mcp-session-id"];
    const isFirst = id === undefined && req.body?.method === "initialize";
    const found = isFirst ? await open() : transports.get(id);
    if (found === undefined) res.status(404).send("Session not found");
    else await found.handleRequest(req, res, req.body);
  });
}

await (transport === "sse" ? serveSse() : serveStreamable());

const server = app.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  process.stdout.write(`${JSON.stringify({ ready: true, port: server.address().port })}\n`);
});
