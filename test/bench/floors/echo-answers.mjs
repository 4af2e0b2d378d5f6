const ECHO_TOOL = {
  name: "echo",
  description: "Says the text back",
  inputSchema: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
};

/** The answer of every echo floor to one message, as JSON text; undefined where none is due. */
export function answerTo(message) {
  if (message.id === undefined || message.method === undefined) return undefined;
  const id = JSON.stringify(message.id);
  switch (message.method) {
    case "tools/call":
      return `{"jsonrpc":"2.0","id":${id},"result":{"content":[{"type":"text","text":${JSON.stringify(message.params.arguments.text)}}]}}`;
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
