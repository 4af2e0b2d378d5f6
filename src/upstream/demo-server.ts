import { setTimeout as sleep } from "node:timers/promises";
import { completable } from "@modelcontextprotocol/sdk/server/completable.js";
import { McpServer, ResourceTemplate } from "@modelcontextprotocol/sdk/server/mcp.js";
import {
  type CallToolResult,
  LoggingLevelSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv";
import { z } from "zod";
import { drawPicture } from "./demo-picture.ts";

const COUNTER = "demo://counter";
const NAMES = ["Ada", "Alan", "Barbara", "Grace", "Katherine"];

// Made once: a schema for each of some thousand idle sessions would be most of their memory.
const shared = {
  validator: new AjvJsonSchemaValidator(),
  echo: z.object({ text: z.string().describe("What comes back") }),
  add: z.object({ a: z.number(), b: z.number() }),
  sum: z.object({ sum: z.number() }),
  slow: z.object({
    seconds: z.number().min(0).max(120).default(5).describe("How long the work takes"),
    steps: z.number().int().min(1).max(1000).default(5).describe("How many progress notifications are sent"),
  }),
  ask: z.object({ question: z.string().default("What is your name?") }),
  log: z.object({
    level: LoggingLevelSchema.default("info"),
    text: z.string().default("A line for the log"),
  }),
  none: z.object({}),
  answerForm: {
    type: "object" as const,
    properties: { answer: { type: "string" as const, title: "Answer" } },
    required: ["answer"],
  },
  introduce: { name: completable(z.string().describe("Whom to introduce"), startingWith) },
};

function startingWith(typed: string): string[] {
  return NAMES.filter((name) => name.toLowerCase().startsWith(typed.toLowerCase()));
}

const text = (words: string): CallToolResult => ({ content: [{ type: "text", text: words }] });

/**
 * The built-in server: something to see before you have a server of your own, with one example of each thing that MCP
 * can carry. Every session has its own, so its counter and its subscriptions are that session's alone.
 */
export function createDemoServer(): McpServer {
  const mcp = new McpServer(
    { name: "mcp-sse-gateway-demo", title: "Demo", version: "1.0.0" },
    {
      capabilities: { logging: {}, resources: { subscribe: true } },
      instructions:
        "A demonstration. Set MCP_SERVER_COMMAND, MCP_SERVER_URL or MCP_SERVERS_FILE to put your own MCP servers here.",
      jsonSchemaValidator: shared.validator,
    },
  );
  addPlainTools(mcp);
  addTalkingTools(mcp);
  addCounter(mcp);
  addGreetings(mcp);
  return mcp;
}

function addPlainTools(mcp: McpServer): void {
  const annotations = { readOnlyHint: true, idempotentHint: true, openWorldHint: false };
  mcp.registerTool(
    "echo",
    { title: "Echo", description: "Gives back the text it is given.", inputSchema: shared.echo, annotations },
    (input) => text(input.text),
  );
  mcp.registerTool(
    "add",
    {
      title: "Add",
      description: "Adds two numbers; the sum comes as structured content too.",
      inputSchema: shared.add,
      outputSchema: shared.sum,
      annotations,
    },
    ({ a, b }) => ({ ...text(String(a + b)), structuredContent: { sum: a + b } }),
  );
  mcp.registerTool(
    "picture",
    { title: "Picture", description: "Draws a small PNG.", inputSchema: shared.none, annotations },
    () => ({ content: [{ type: "image", mimeType: "image/png", data: drawPicture().toString("base64") }] }),
  );
}

function addTalkingTools(mcp: McpServer): void {
  mcp.registerTool(
    "slow",
    {
      title: "Slow work",
      description: "Works for some seconds, reports its progress on the way and can be cancelled.",
      inputSchema: shared.slow,
      annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
    },
    async ({ seconds, steps }, { _meta, signal, sendNotification }) => {
      const progressToken = _meta?.progressToken;
      for (let step = 1; step <= steps; step += 1) {
        await sleep((seconds * 1000) / steps, undefined, { signal });
        if (progressToken === undefined) continue;
        const params = { progressToken, progress: step, total: steps, message: `Step ${step} of ${steps}` };
        await sendNotification({ method: "notifications/progress", params });
      }
      return text(`Done after ${seconds} seconds in ${steps} steps.`);
    },
  );
  mcp.registerTool(
    "ask",
    {
      title: "Ask back",
      description: "Asks the client's user, or else its model, and tells the answer.",
      inputSchema: shared.ask,
      annotations: { readOnlyHint: true, idempotentHint: false, openWorldHint: true },
    },
    ({ question }, { signal }) => ask(mcp, question, signal),
  );
  mcp.registerTool(
    "log",
    {
      title: "Log",
      description: "Sends a logging message at the level that is asked for.",
      inputSchema: shared.log,
      annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
    },
    async (input) => {
      await mcp.sendLoggingMessage({ level: input.level, logger: "demo", data: input.text });
      return text(`Logged at ${input.level}.`);
    },
  );
}

async function ask(mcp: McpServer, question: string, signal: AbortSignal): Promise<CallToolResult> {
  const client = mcp.server.getClientCapabilities();
  if (client?.elicitation?.form) {
    const params = { message: question, requestedSchema: shared.answerForm };
    const { action, content } = await mcp.server.elicitInput(params, { signal });
    return text(
      action === "accept"
        ? `The user answers: ${String(content?.["answer"])}`
        : `The user chose to ${action}.`,
    );
  }
  if (client?.sampling) {
    const messages = [{ role: "user" as const, content: { type: "text" as const, text: question } }];
    const { model, content } = await mcp.server.createMessage({ messages, maxTokens: 200 }, { signal });
    return text(
      `The model ${model} answers: ${content.type === "text" ? content.text : `(${content.type})`}`,
    );
  }
  return text("This client offers neither elicitation nor sampling, so there is nobody to ask.");
}

function addCounter(mcp: McpServer): void {
  let count = 0;
  let subscribed = false;
  mcp.registerResource(
    "counter",
    COUNTER,
    { title: "Counter", description: "How often this session has called bump.", mimeType: "text/plain" },
    () => ({ contents: [{ uri: COUNTER, mimeType: "text/plain", text: String(count) }] }),
  );
  mcp.server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
    if (params.uri === COUNTER) subscribed = true;
    return {};
  });
  mcp.server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
    if (params.uri === COUNTER) subscribed = false;
    return {};
  });
  mcp.registerTool(
    "bump",
    {
      title: "Bump the counter",
      description: `Adds one to the resource ${COUNTER}, and tells the session if it has subscribed to it.`,
      inputSchema: shared.none,
      annotations: {
        readOnlyHint: false,
        destructiveHint: false,
        idempotentHint: false,
        openWorldHint: false,
      },
    },
    async () => {
      count += 1;
      if (subscribed) await mcp.server.sendResourceUpdated({ uri: COUNTER });
      return text(String(count));
    },
  );
}

function addGreetings(mcp: McpServer): void {
  mcp.registerResource(
    "greeting",
    new ResourceTemplate("demo://greeting/{name}", { list: undefined, complete: { name: startingWith } }),
    { title: "Greeting", description: "Greets whoever is named.", mimeType: "text/plain" },
    ({ href: uri }, { name }) => ({
      contents: [{ uri, mimeType: "text/plain", text: `Hello, ${String(name)}!` }],
    }),
  );
  mcp.registerPrompt(
    "introduce",
    {
      title: "Introduce",
      description: "Asks for an introduction of a person.",
      argsSchema: shared.introduce,
    },
    ({ name }) => ({
      messages: [
        { role: "user", content: { type: "text", text: `Introduce ${name} to us in two sentences.` } },
      ],
    }),
  );
}
