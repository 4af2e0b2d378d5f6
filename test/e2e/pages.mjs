// A stdio server whose lists come in pages: 25 tools, 4 at a time, each cursor good for one page.
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const names = Array.from({ length: 25 }, (_, index) => `tool-${index}`);
const server = new Server({ name: "pages", version: "1.0.0" }, { capabilities: { tools: {} } });
server.setRequestHandler(ListToolsRequestSchema, ({ params }) => {
  const start = Number(Buffer.from(params?.cursor ?? "MA==", "base64"));
  const tools = names.slice(start, start + 4).map((name) => ({ name, inputSchema: { type: "object" } }));
  const next = start + 4;
  return {
    tools,
    ...(next < names.length ? { nextCursor: Buffer.from(String(next)).toString("base64") } : {}),
  };
});
await server.connect(new StdioServerTransport());
