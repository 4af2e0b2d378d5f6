import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  connectRecordingClient,
  outcome,
  ROOT,
  type RecordingClient,
  type Transcript,
} from "../support/transcript.ts";

const GZIP_DATA = "data:text/plain;base64,aGVsbG8gaGVsbG8gaGVsbG8=";
const URL_ASKED = "https://example.com/approve";

/** Arguments for every tool of server-everything; a tool without an entry here fails the story. */
const ARGUMENTS: Record<string, Record<string, unknown>[]> = {
  echo: [{ message: "grüße 🚪\u2028\n" }, { message: "x".repeat(200_000) }],
  "get-annotated-message": [
    { messageType: "error" },
    { messageType: "success", includeImage: true },
    { messageType: "debug" },
  ],
  "get-env": [{}],
  "get-resource-links": [{}, { count: 10 }, { count: 99 }],
  "get-resource-reference": [
    { resourceType: "Text", resourceId: 1 },
    { resourceType: "Blob", resourceId: 2 },
    { resourceId: -1 },
  ],
  "get-roots-list": [{}],
  "get-structured-content": [{ location: "New York" }, { location: "Nowhere" }],
  "get-sum": [{ a: 2, b: 40 }, { a: "2" }],
  "get-tiny-image": [{}],
  "gzip-file-as-resource": [
    { name: "a.gz", data: GZIP_DATA, outputType: "resourceLink" },
    { name: "b.gz", data: GZIP_DATA, outputType: "resource" },
  ],
  "toggle-simulated-logging": [{}, {}],
  "toggle-subscriber-updates": [{}, {}],
  "trigger-elicitation-request": [{}],
  "trigger-elicitation-request-async": [{}],
  "trigger-long-running-operation": [{ duration: 0.4, steps: 4 }],
  "trigger-sampling-request": [{ prompt: "What is 6 × 7?", maxTokens: 50 }],
  "trigger-sampling-request-async": [{ prompt: "What is 6 × 7?" }],
  "trigger-url-elicitation": [
    { url: URL_ASKED, message: "Please", elicitationId: "e-1" },
    { url: URL_ASKED, errorPath: true },
    { url: URL_ASKED, errorPath: true },
  ],
  // Four stages of a second each; the second call stops at the third and asks.
  "simulate-research-query": [{ topic: "gateways" }, { topic: "python", ambiguous: true }],
};

const isAbout = (method: string, text: string) => (message: { method: string; params?: unknown }) =>
  message.method === method && JSON.stringify(message.params).includes(text);

/** Does all that a client can do with server-everything, one thing after another, and tells what it saw and heard. */
export async function talkToEverything(transport: Transport): Promise<Transcript> {
  const recording = await connectRecordingClient(transport);
  const { client, heard, hears } = recording;
  const seen: Transcript = {
    server: client.getServerVersion(),
    capabilities: client.getServerCapabilities(),
    instructions: client.getInstructions(),
  };
  // The server asks for the roots some time after the start; what comes later must not be mixed with it.
  await hears(isAbout("notifications/message", "Roots updated: 1"));

  await callEveryTool(recording, seen);
  await readEverything(recording, seen);
  await changeThings(recording, seen);
  // The server works on after a cancellation, and how much is heard of that depends on time.
  seen["heard"] = [...heard];
  seen["cancelled"] = await cancelOne(recording);
  seen["after the cancellation"] = await client.callTool({
    name: "echo",
    arguments: { message: "still here" },
  });
  await client.ping();
  await client.close();
  return seen;
}

async function callEveryTool({ client }: RecordingClient, seen: Transcript): Promise<void> {
  const { tools } = await client.listTools();
  seen["tools"] = tools;
  for (const { name, execution } of tools) {
    const calls = ARGUMENTS[name];
    if (calls === undefined) throw new Error(`no arguments for the tool ${name}`);
    for (const [index, args] of calls.entries()) {
      const options = { onprogress: () => {} };
      const result =
        execution?.taskSupport === "required"
          ? await callAsTask(client, name, args)
          : await outcome(client.callTool({ name, arguments: args }, undefined, options));
      seen[`${name} ${index}`] = result;
    }
  }
  seen["no such tool"] = await outcome(client.callTool({ name: "no-such-tool", arguments: {} }));
}

/** How often the client asks on the way depends on time; what it is told first and last does not. */
async function callAsTask(
  client: RecordingClient["client"],
  name: string,
  args: Record<string, unknown>,
): Promise<unknown> {
  const told: unknown[] = [];
  for await (const message of client.experimental.tasks.callToolStream({ name, arguments: args }))
    if (message.type !== "taskStatus") told.push(message.type === "taskCreated" ? "created" : message);
  return told;
}

async function readEverything({ client }: RecordingClient, seen: Transcript): Promise<void> {
  const { resources } = await client.listResources();
  seen["resources"] = resources;
  for (const { uri } of resources) seen[`read ${uri}`] = await outcome(client.readResource({ uri }));
  seen["templates"] = await client.listResourceTemplates();
  for (const uri of ["text/1", "blob/2", "text/none"])
    seen[`read ${uri}`] = await outcome(client.readResource({ uri: `demo://resource/dynamic/${uri}` }));
  seen["prompts"] = await client.listPrompts();
  const prompts: [string, Record<string, string>][] = [
    ["simple-prompt", {}],
    ["args-prompt", { city: "Kyōto", state: "Kyōto-fu" }],
    ["args-prompt", {}],
    ["completable-prompt", { department: "Sales", name: "Eve" }],
    ["resource-prompt", { resourceType: "Text", resourceId: "3" }],
  ];
  for (const [name, args] of prompts)
    seen[`prompt ${name} ${JSON.stringify(args)}`] = await outcome(
      client.getPrompt({ name, arguments: args }),
    );
  const ref = { type: "ref/prompt" as const, name: "completable-prompt" };
  seen["completion"] = await client.complete({ ref, argument: { name: "department", value: "S" } });
  seen["completion with context"] = await client.complete({
    ref,
    argument: { name: "name", value: "D" },
    context: { arguments: { department: "Sales" } },
  });
  seen["completion of a template"] = await client.complete({
    ref: { type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" },
    argument: { name: "resourceId", value: "12" },
  });
}

/** Subscriptions, the log level, and roots that change. */
async function changeThings({ client, hears, setRoots }: RecordingClient, seen: Transcript): Promise<void> {
  const uri = "demo://resource/dynamic/text/1";
  seen["subscribed"] = await client.subscribeResource({ uri });
  await client.callTool({ name: "toggle-subscriber-updates", arguments: {} });
  await hears(isAbout("notifications/resources/updated", uri));
  await client.callTool({ name: "toggle-subscriber-updates", arguments: {} });
  seen["unsubscribed"] = await client.unsubscribeResource({ uri });
  setRoots([ROOT, { uri: "file:///srv/second", name: "second" }]);
  await client.sendRootsListChanged();
  await hears(isAbout("notifications/message", "Roots updated: 2"));
  seen["two roots"] = await client.callTool({ name: "get-roots-list", arguments: {} });
  seen["level"] = await client.setLoggingLevel("emergency");
  // Below the level, so nothing of it may be heard.
  seen["subscribed quietly"] = await client.subscribeResource({ uri });
}

async function cancelOne({ client }: RecordingClient): Promise<unknown> {
  const cancel = new AbortController();
  const call = client.callTool(
    { name: "trigger-long-running-operation", arguments: { duration: 0.6, steps: 3 } },
    undefined,
    { signal: cancel.signal, onprogress: () => cancel.abort("enough") },
  );
  return outcome(call);
}
