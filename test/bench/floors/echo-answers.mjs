const ECHO_TOOL = {
  name: "echo",
  description: "Says the text back, and fills it up with x to a size",
  inputSchema: {
    type: "object",
    properties: { text: { type: "string" }, size: { type: "integer", minimum: 0 } },
    required: ["text"],
  },
};

/** The answer of every echo floor to one message, as JSON text; undefined where none is due. */
export function answerTo(message) {
  if (message.id === undefined || message.method === undefined) return undefined;
  const id = JSON.stringify(message.id);
  switch (message.method) {
    case "tools/call":
      return `{"jsonrpc":"2.0","id":${id},"result":{"content":[{"type":"text","text":${echo(message.params.arguments)}}]}}`;
    case "tools/list":
      return `{"jsonrpc":"2.0","id":${id},"result":${JSON.stringify({ tools: [ECHO_TOOL] })}}`;
    case "initialize":
      return `{"jsonrpc":"2.0","id":${id},"result":${JSON.stringify({
        protocolVersion: message.params.protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: "echo-floor", version: "1.0.0" },
      })}}`;
    case "ping":
      return `{"jsonrpc":"2.0","id":${id},"result":{}}`;
    default:
      return `{"jsonrpc":"2.0","id":${id},"error":{"code":-32601,"message":"Method not found"}}`;
  }
}

/** The text as JSON, `size` characters long where a size above its own is asked for. */
function echo({ text, size }) {
  const json = JSON.stringify(text);
  // The filling is not serialised: what a megabyte costs its maker is not what is measured.
  return size === undefined || size <= text.length
    ? json
    : `${json.slice(0, -1)}${"x".repeat(size - text.length)}"`;
}
