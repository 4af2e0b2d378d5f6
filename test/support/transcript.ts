import { InMemoryTaskStore } from "@modelcontextprotocol/sdk/experimental/tasks";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  type CreateMessageResult,
  type ElicitResult,
  type Notification,
} from "@modelcontextprotocol/sdk/types.js";

export const ROOT = { uri: "file:///srv/project", name: "project" };

/** Everything that a session showed its client, by name and in order. */
export type Transcript = Record<string, unknown>;

/** A client that can do all a client can, keeps what it is told and asked, and always answers the same. */
export interface RecordingClient {
  client: Client;
  /** Notifications and requests of the server, as they came. */
  heard: Notification[];
  /** Resolves with the first notification or request, past or to come, that fits. */
  hears(fits: (message: Notification) => boolean): Promise<Notification>;
  /** Changes what it tells of its roots. */
  setRoots(roots: { uri: string; name: string }[]): void;
}

/** The same transport, and `hear` is told of each notification and request before the client is. */
function tapped(transport: Transport, hear: (message: Notification) => void): Transport {
  const tap: Transport = {
    start() {
      transport.onmessage = (message, extra) => {
        if ("method" in message) hear({ method: message.method, params: message.params } as Notification);
        tap.onmessage?.(message, extra);
      };
      transport.onclose = () => tap.onclose?.();
      transport.onerror = (error) => tap.onerror?.(error);
      return transport.start();
    },
    send: (message, options) => transport.send(message, options),
    close: () => transport.close(),
    setProtocolVersion: (version) => transport.setProtocolVersion?.(version),
  };
  return tap;
}

/**
 * Connects a recording client over any transport. It listens below the SDK's client, which loses a progress
 * notification that arrives in one read with the result.
 */
export async function connectRecordingClient(transport: Transport, roots = [ROOT]): Promise<RecordingClient> {
  const heard: Notification[] = [];
  const waiting = new Set<() => void>();
  const hear = (message: Notification) => {
    heard.push(JSON.parse(JSON.stringify(message)) as Notification);
    for (const look of waiting) look();
  };
  let told = roots;
  const client = new Client(
    { name: "recording", version: "1.0.0" },
    {
      capabilities: {
        roots: { listChanged: true },
        sampling: {},
        elicitation: { form: {}, url: {} },
        tasks: { requests: { sampling: { createMessage: {} }, elicitation: { create: {} } } },
      },
      taskStore: new InMemoryTaskStore(),
    },
  );
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: told }));
  const sampled: CreateMessageResult = {
    model: "recorded-model",
    role: "assistant",
    content: { type: "text", text: "sampled: 42 ✓" },
    stopReason: "endTurn",
  };
  const elicited = (mode: string | undefined): ElicitResult =>
    mode === "url"
      ? { action: "accept" }
      : { action: "accept", content: { name: "Ada", check: true, integer: 7, interpretation: "technical" } };
  client.setRequestHandler(CreateMessageRequestSchema, async (request, { taskStore }) => {
    if (!request.params.task || taskStore === undefined) return sampled;
    const task = await taskStore.createTask({ ttl: 60_000 });
    await taskStore.storeTaskResult(task.taskId, "completed", sampled);
    return { task: await taskStore.getTask(task.taskId) };
  });
  client.setRequestHandler(ElicitRequestSchema, async (request, { taskStore }) => {
    const answer = elicited(request.params.mode);
    if (!request.params.task || taskStore === undefined) return answer;
    const task = await taskStore.createTask({ ttl: 60_000 });
    await taskStore.storeTaskResult(task.taskId, "completed", answer);
    return { task: await taskStore.getTask(task.taskId) };
  });
  await client.connect(tapped(transport, hear));
  return {
    client,
    heard,
    setRoots: (next) => void (told = next),
    hears: (fits) =>
      new Promise((resolve) => {
        const look = () => {
          const found = heard.find(fits);
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
  };
}

/** What a promise brought: the value, or the error in words. */
export async function outcome(promise: Promise<unknown>): Promise<unknown> {
  try {
    return await promise;
  } catch (error) {
    const { code, message, data } = error as Error & { code?: unknown; data?: unknown };
    return { failed: { code, message, data } };
  }
}
