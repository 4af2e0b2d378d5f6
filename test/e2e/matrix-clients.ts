import { setTimeout as delay } from "node:timers/promises";
import { Client as ModernClient } from "@modelcontextprotocol/client";
import { Client as LegacyClient } from "@modelcontextprotocol/sdk/client/index.js";
import type { Transport as LegacyTransport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { Transport as ModernTransport } from "@modelcontextprotocol/client";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";

export type Json = Record<string, unknown>;

/** A notification or a request of the server. */
export interface Told {
  method: string;
  params?: Json;
}

/** What answers a question of the server. */
export type Answer = (question: Told, signal: AbortSignal) => Promise<Json> | Json;

/** What has been asked for beside the answers to requests. */
export interface Watch {
  /** Hears no more of the resource. */
  leaveResource(): Promise<void>;
  close(): Promise<void>;
}

export interface RequestOptions {
  signal?: AbortSignal;
  onprogress?: () => void;
}

/** A real client of either era. What differs between the eras is said here once. */
export interface MatrixClient {
  readonly era: "legacy" | "modern";
  /** Notifications as they came, from the first on. */
  readonly heard: Told[];
  /** Questions that it was asked. */
  readonly asked: Told[];
  answer: Answer;
  introduction(): Json;
  request(method: string, params?: Json, options?: RequestOptions): Promise<Json>;
  setLevel(level: string): Promise<void>;
  /** Hears of this resource from now on, and of all lists. */
  watch(uri: string): Promise<Watch>;
  close(): Promise<void>;
}

export const ROOTS = [{ uri: "file:///srv/project", name: "Project ☃" }];
const EVERYTHING = { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } };
const INFO = { name: "matrix-client", version: "1.0.0" };
const LOG_LEVEL = "io.modelcontextprotocol/logLevel";
const anything = z.looseObject({});

export const answerGladly: Answer = ({ method }) => {
  if (method === "roots/list") return { roots: ROOTS };
  if (method === "elicitation/create")
    return { action: "accept", content: { name: "Ada", answer: "Ada", sure: true } };
  const content = { type: "text", text: "sampled ✓" };
  return { model: "a-model", role: "assistant", content, stopReason: "endTurn" };
};

interface Heard {
  heard: Told[];
  asked: Told[];
}

/** Listens below the SDK's client, which loses a notification that arrives in one read with the answer. */
function tap<T extends { onmessage?: unknown }>(transport: T, { heard }: Heard): T {
  let listener: ((message: Json, ...more: unknown[]) => void) | undefined;
  // The v2 SDK puts its listener around the one that is there.
  const known = new WeakSet();
  Object.defineProperty(transport, "onmessage", {
    get: () => listener,
    set: (next: typeof listener) => {
      listener = (message, ...more) => {
        if (typeof message["method"] === "string" && message["id"] === undefined && !known.has(message))
          heard.push(structuredClone(message) as unknown as Told);
        known.add(message);
        next?.(message, ...more);
      };
    },
  });
  return transport;
}

/** Connects a client of the v1 SDK, which speaks the versions up to 2025-11-25. */
export async function connectLegacy(
  transport: unknown,
  capabilities: Json = EVERYTHING,
): Promise<MatrixClient> {
  const record: Heard = { heard: [], asked: [] };
  const client = new LegacyClient(INFO, { capabilities });
  const one: MatrixClient = {
    era: "legacy",
    ...record,
    answer: answerGladly,
    introduction: () => ({
      serverInfo: client.getServerVersion(),
      capabilities: client.getServerCapabilities(),
      instructions: client.getInstructions(),
    }),
    request: (method, params = {}, options) =>
      client.request({ method, params }, anything, { timeout: 20_000, ...options }),
    async setLevel(level) {
      await one.request("logging/setLevel", { level });
    },
    async watch(uri) {
      await one.request("resources/subscribe", { uri });
      return {
        leaveResource: () => one.request("resources/unsubscribe", { uri }).then(() => undefined),
        close: () => Promise.resolve(),
      };
    },
    close: () => client.close(),
  };
  const take = async (question: unknown, { signal }: { signal: AbortSignal }) => {
    record.asked.push(structuredClone(question) as Told);
    return one.answer(question as Told, signal) as never;
  };
  if ("roots" in capabilities) client.setRequestHandler(ListRootsRequestSchema, take);
  if ("elicitation" in capabilities) client.setRequestHandler(ElicitRequestSchema, take);
  if ("sampling" in capabilities) client.setRequestHandler(CreateMessageRequestSchema, take);
  await client.connect(tap(transport as LegacyTransport, record));
  return one;
}

/** Connects a client of the v2 SDK that speaks nothing but 2026-07-28. */
export async function connectModern(
  transport: unknown,
  capabilities: Json = EVERYTHING,
): Promise<MatrixClient> {
  const record: Heard = { heard: [], asked: [] };
  const client = new ModernClient(INFO, {
    capabilities,
    versionNegotiation: { mode: { pin: "2026-07-28" } },
  });
  let level: string | undefined;
  const lists = { toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true };
  const one: MatrixClient = {
    era: "modern",
    ...record,
    answer: answerGladly,
    introduction: () => ({
      serverInfo: client.getServerVersion(),
      capabilities: client.getServerCapabilities(),
      instructions: client.getInstructions(),
    }),
    request(method, params = {}, options) {
      const meta = { ...(params["_meta"] as Json), ...(level === undefined ? {} : { [LOG_LEVEL]: level }) };
      return client.request({ method, params: { ...params, _meta: meta } }, anything, {
        timeout: 20_000,
        ...options,
      });
    },
    async setLevel(next) {
      level = next;
      await Promise.resolve();
    },
    async watch(uri) {
      let stream = await client.listen({ ...lists, resourceSubscriptions: [uri] });
      return {
        async leaveResource() {
          const rest = await client.listen(lists);
          await stream.close();
          stream = rest;
        },
        close: () => stream.close(),
      };
    },
    close: () => client.close(),
  };
  const take = async (question: unknown, { mcpReq }: { mcpReq: { signal: AbortSignal } }) => {
    record.asked.push(structuredClone(question) as Told);
    return one.answer(question as Told, mcpReq.signal) as never;
  };
  if ("roots" in capabilities) client.setRequestHandler("roots/list", take);
  if ("elicitation" in capabilities) client.setRequestHandler("elicitation/create", take);
  if ("sampling" in capabilities) client.setRequestHandler("sampling/createMessage", take);
  await client.connect(tap(transport as ModernTransport, record));
  return one;
}

/** Does something again and again until it has had its effect: what it tells may come before anybody listens. */
export async function until(hasHappened: () => boolean, cause: () => void): Promise<number> {
  for (let times = 1; times <= 10; times += 1) {
    cause();
    for (let waited = 0; waited < 1500; waited += 5) {
      if (hasHappened()) return times;
      await delay(5);
    }
  }
  throw new Error("it never happened");
}
