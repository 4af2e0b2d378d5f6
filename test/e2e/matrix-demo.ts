import { setTimeout as delay } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import {
  call,
  type Feature,
  FEATURES,
  type FeatureName,
  heardFrom,
  outcome,
  plain,
  questions,
  stepOf,
  type Trial,
} from "./matrix-features.ts";

const COUNTER = "demo://counter";

/** The same features of the built-in server, which names things otherwise. Null: it has no such thing. */
export const DEMO_FEATURES: Record<FeatureName, Feature | null> = {
  introduction: FEATURES.introduction,
  "tools: list": FEATURES["tools: list"],
  "tools: call": async ({ client }) => [
    plain(await call(client, "echo", { text: "Grüße ✓" })),
    plain(await call(client, "picture")),
  ],
  "tools: structured content": FEATURES["tools: structured content"],
  "tools: isError": async ({ client }) => plain(await call(client, "echo", { text: 7 })),
  "tools: protocol error": FEATURES["tools: protocol error"],
  "resources: list": FEATURES["resources: list"],
  "resources: templates": FEATURES["resources: templates"],
  "resources: read": async ({ client }) => [
    plain(await client.request("resources/read", { uri: "demo://greeting/Ada" })),
    await outcome(client.request("resources/read", { uri: "demo://nothing" })),
  ],
  "resources: subscribe, updates": async ({ client }) => {
    const from = client.heard.length;
    const updates = () => heardFrom(client, from, "notifications/resources/updated");
    const watch = await client.watch(COUNTER);
    await call(client, "bump");
    // In a session it comes beside the answer; to others never.
    await eventually(() => updates().length > 0, client.era === "modern" ? 200 : 5000).catch(() => undefined);
    const told = updates().map(({ params }) => plain(params));
    await watch.leaveResource();
    await call(client, "bump");
    await delay(20);
    await watch.close();
    return { told, afterwards: updates().length - told.length };
  },
  prompts: async ({ client }) => [
    plain(await client.request("prompts/list")),
    plain(await client.request("prompts/get", { name: "introduce", arguments: { name: "Ada" } })),
  ],
  completion: async ({ client }) => {
    const ofPrompt = { type: "ref/prompt", name: "introduce" };
    const ofTemplate = { type: "ref/resource", uri: "demo://greeting/{name}" };
    const argument = { name: "name", value: "A" };
    return [
      plain(await client.request("completion/complete", { ref: ofPrompt, argument })),
      plain(await client.request("completion/complete", { ref: ofTemplate, argument })),
    ];
  },
  "logging level": async ({ client }) => {
    const told: unknown[] = [];
    for (const level of ["warning", "debug"]) {
      const from = client.heard.length;
      await client.setLevel(level);
      for (const of of ["debug", "warning", "error"]) await call(client, "log", { level: of, text: of });
      // A message that belongs to no request comes by another stream than the answer, and may come after it.
      await eventually(() => heardFrom(client, from, "notifications/message").length >= told.length + 2);
      told.push(heardFrom(client, from, "notifications/message").map(({ params }) => plain(params)));
    }
    return told;
  },
  progress: async ({ client }) => {
    const from = client.heard.length;
    const answer = await call(client, "slow", { seconds: 0.03, steps: 3 }, { onprogress: () => undefined });
    const told = heardFrom(client, from, "notifications/progress");
    return { answer: plain(answer), steps: told.map(stepOf) };
  },
  "cancellation by the client": async ({ client }) => {
    const from = client.heard.length;
    const tired = new AbortController();
    const options = { signal: tired.signal, onprogress: () => undefined };
    const hung = call(client, "slow", { seconds: 20, steps: 1000 }, options).catch(() => "given up");
    const steps = () => heardFrom(client, from, "notifications/progress");
    await eventually(() => steps().length > 0);
    const token = steps()[0]?.params?.["progressToken"];
    tired.abort(new Error("tired"));
    const ended = await hung;
    const ofIt = () => steps().filter(({ params }) => params?.["progressToken"] === token).length;
    await call(client, "echo", { text: "behind the cancellation" });
    const before = ofIt();
    // Five of its steps would come in this time.
    await call(client, "slow", { seconds: 0.1, steps: 1 });
    return { ended, more: ofIt() - before };
  },
  "cancellation by the server": null,
  "a question ends with its call": async ({ client }) => {
    // The v1 SDK's client overlooks that a question with the id 0 is taken back.
    await call(client, "ask");
    const given = client.answer;
    const tired = new AbortController();
    let isAsked = false;
    const withdrawn = new Promise<string>((resolve) => {
      client.answer = (question, signal) => {
        isAsked = true;
        signal.addEventListener("abort", () => resolve("withdrawn"));
        return new Promise(() => undefined);
      };
    });
    call(client, "ask", {}, { signal: tired.signal }).catch(() => undefined);
    await eventually(() => isAsked);
    tired.abort(new Error("tired"));
    const ended = await withdrawn;
    client.answer = given;
    return ended;
  },
  sampling: async ({ another }) => {
    const client = await another({ sampling: {} });
    const answer = plain(await call(client, "ask"));
    await client.close();
    return { answer, asked: questions(client.asked) };
  },
  elicitation: (trial) => ask(trial),
  roots: null,
  "three questions at once": null,
  "a question refused": async ({ client }) => {
    const given = client.answer;
    client.answer = () => ({ action: "decline" });
    const answer = await call(client, "ask");
    client.answer = given;
    return plain(answer);
  },
  pagination: null,
  list_changed: null,
  tasks: ({ client }) => outcome(client.request("tasks/list")),
};

async function ask({ client }: Trial): Promise<unknown> {
  const from = client.asked.length;
  const answer = await call(client, "ask", { question: "Who?" });
  return { answer: plain(answer), asked: questions(client.asked.slice(from)) };
}
