import process from "node:process";
import { startChild } from "./child-process.mjs";

const INITIALIZE = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: {
    protocolVersion: "2025-06-18",
    capabilities: {},
    clientInfo: { name: "bridge-floor", version: "1.0.0" },
  },
};

/**
 * One child for all sessions, initialized once. A request gets an id of its own; `onAnswer(asker, text)` gets its answer
 * with the asker's id in it again. Clients' notifications and the child's own messages are dropped.
 */
export async function openSharedChild(onAnswer) {
  const waiting = new Map();
  let lastId = 0;
  let welcome;
  let onInitialized;
  const initialized = new Promise((resolve) => (onInitialized = resolve));

  const child = startChild(
    (line) => {
      const answer = JSON.parse(line);
      if (welcome === undefined) {
        welcome = JSON.stringify(answer.result);
        onInitialized();
        return;
      }
      const request = waiting.get(answer.id);
      if (request === undefined) return;
      waiting.delete(answer.id);
      answer.id = request.id;
      onAnswer(request.asker, JSON.stringify(answer));
    },
    () => process.exit(1),
  );
  child.stdin.write(`${JSON.stringify(INITIALIZE)}\n`);
  await initialized;
  child.stdin.write('{"jsonrpc":"2.0","method":"notifications/initialized"}\n');

  return {
    take(message, asker) {
      if (message.id === undefined) return;
      if (message.method === "initialize") {
        onAnswer(asker, `{"jsonrpc":"2.0","id":${JSON.stringify(message.id)},"result":${welcome}}`);
        return;
      }
      lastId += 1;
      waiting.set(lastId, { id: message.id, asker });
      message.id = lastId;
      child.stdin.write(`${JSON.stringify(message)}\n`);
    },
  };
}
