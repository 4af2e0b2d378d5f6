import { type Json, type MatrixClient, type Told, until } from "./matrix-clients.ts";
import type { World } from "./matrix-servers.ts";

/** What a feature is tried with. */
export interface Trial {
  client: MatrixClient;
  world: World;
  /** Another client of the same server by the same way, which can do only this. */
  another(capabilities: Json): Promise<MatrixClient>;
}

/** Uses one feature, and resolves with all that the client saw of it. */
export type Feature = (trial: Trial) => Promise<unknown>;

const WATCHED = "matrix://watched";
const IN_TASKS = ["taskId", "createdAt", "lastUpdatedAt", "pollInterval"];
const OF_MODERN_RESULTS = ["resultType", "ttlMs", "cacheScope"];
const ERA_META = /^io\.modelcontextprotocol\/(serverInfo|protocolVersion|client\w+|logLevel|subscriptionId)$/;

/** A value without what is different each time, and without what only one era says of every result. */
export function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value)
    .filter(([name, inner]) => inner !== undefined && !OF_MODERN_RESULTS.includes(name))
    .map(([name, inner]) => [name, IN_TASKS.includes(name) ? typeof inner : plain(inner)] as const)
    .filter(([name]) => !ERA_META.test(name));
  return Object.fromEntries(
    members.filter(([name, inner]) => name !== "_meta" || Object.keys(inner as object).length > 0),
  );
}

/** What a promise brought: the value, or the error by its code. */
export async function outcome(promise: Promise<unknown>): Promise<unknown> {
  try {
    return plain(await promise);
  } catch (error) {
    return { refused: (error as { code?: unknown }).code };
  }
}

export const call = (client: MatrixClient, name: string, given: Json = {}, options = {}): Promise<Json> =>
  client.request("tools/call", { name, arguments: given }, options);

export const heardFrom = (client: MatrixClient, from: number, method: string): Told[] =>
  client.heard.slice(from).filter((told) => told.method === method);

/** What a progress notification says, but for its token. */
export function stepOf({ params }: Told): Json {
  const { progressToken: _, ...step } = params ?? {};
  return step;
}

/** Questions come in any order where several are asked at once. */
export function questions(asked: readonly Told[]): unknown {
  const known = asked.map(({ method, params }) => plain({ method, params: params ?? {} }) as Told);
  return known.toSorted((a, b) => (a.method < b.method ? -1 : 1));
}

async function pages(client: MatrixClient, method: string, kind: string): Promise<unknown[]> {
  const all: unknown[] = [];
  let cursor: unknown;
  do {
    const page = await client.request(method, cursor === undefined ? {} : { cursor });
    all.push(plain(page[kind]));
    cursor = page["nextCursor"];
  } while (cursor !== undefined);
  return all;
}

/** The v1 SDK's client overlooks that a question with the id 0 is taken back. */
const spendFirstQuestion = (client: MatrixClient) => call(client, "ask", { what: "roots" });

async function ask({ client }: Trial, what: string): Promise<unknown> {
  const from = client.asked.length;
  const answer = await call(client, "ask", { what });
  const [{ text }] = answer["content"] as [{ text: string }];
  return { answers: JSON.parse(text) as unknown, asked: questions(client.asked.slice(from)) };
}

/** The features of the server that has them all. */
export const FEATURES = {
  introduction: async ({ client }) => {
    const { capabilities, ...rest } = client.introduction();
    // Tasks are an experiment of one version, and their own feature here.
    const { tasks: _, ...carried } = capabilities as Json;
    return { ...rest, capabilities: carried };
  },
  "tools: list": ({ client }) => pages(client, "tools/list", "tools"),
  "tools: call": async ({ client }) => [
    plain(await call(client, "echo", { text: "Grüße ✓" })),
    plain(await call(client, "media")),
  ],
  "tools: structured content": async ({ client }) => plain(await call(client, "add", { a: 2, b: 3 })),
  "tools: isError": async ({ client }) => plain(await call(client, "fail")),
  "tools: protocol error": ({ client }) => outcome(call(client, "no-such-tool")),
  "resources: list": ({ client }) => pages(client, "resources/list", "resources"),
  "resources: templates": async ({ client }) => plain(await client.request("resources/templates/list")),
  "resources: read": async ({ client }) => {
    const uris = ["matrix://text", "matrix://blob", "matrix://greeting/Ada"];
    return Promise.all(uris.map(async (uri) => plain(await client.request("resources/read", { uri }))));
  },
  "resources: subscribe, updates": async ({ client, world }) => {
    const from = client.heard.length;
    const updates = () => heardFrom(client, from, "notifications/resources/updated");
    const changes = () => heardFrom(client, from, "notifications/tools/list_changed");
    const watch = await client.watch(WATCHED);
    const marks = await until(
      () => updates().length > 0,
      () => world.mark(`updated-${world.label()}`),
    );
    const [first] = updates();
    const isOnce = updates().length <= marks;
    await watch.leaveResource();
    const before = updates().length;
    // What is told in order: the second comes after where the first would be.
    await until(
      () => changes().length > 0,
      () => {
        world.mark(`updated-${world.label()}`);
        world.mark(`changed-${world.label()}`);
      },
    );
    await watch.close();
    return { told: plain(first?.params), isOnce, afterwards: updates().length - before };
  },
  prompts: async ({ client }) => [
    plain(await client.request("prompts/list")),
    plain(await client.request("prompts/get", { name: "plain" })),
    plain(await client.request("prompts/get", { name: "paint", arguments: { colour: "red" } })),
  ],
  completion: async ({ client }) => {
    const ofPrompt = { type: "ref/prompt", name: "paint" };
    const ofTemplate = { type: "ref/resource", uri: "matrix://greeting/{name}" };
    const argument = { name: "colour", value: "r" };
    const context = { arguments: { finish: "matt" } };
    return [
      plain(await client.request("completion/complete", { ref: ofPrompt, argument })),
      plain(await client.request("completion/complete", { ref: ofTemplate, argument, context })),
    ];
  },
  "logging level": async ({ another }) => {
    // Its own, for a level cannot be taken back, and a log message beside a request that is cancelled could be anybody's.
    const client = await another({});
    const told: unknown[] = [];
    for (const level of ["warning", "debug", "error"]) {
      await client.setLevel(level);
      const watch = await client.watch(WATCHED);
      const from = client.heard.length;
      await call(client, "log");
      told.push(heardFrom(client, from, "notifications/message").map(({ params }) => plain(params)));
      await watch.close();
    }
    await client.close();
    return told;
  },
  progress: async ({ client }) => {
    const from = client.heard.length;
    const answer = await call(client, "progress", {}, { onprogress: () => undefined });
    const told = heardFrom(client, from, "notifications/progress");
    const tokens = new Set(told.map(({ params }) => params?.["progressToken"]));
    const steps = told.map(stepOf);
    return { answer: plain(answer), steps, tokens: tokens.size };
  },
  "cancellation by the client": async ({ client, world }) => {
    const label = world.label();
    const tired = new AbortController();
    const hung = call(client, "hang", { label }, { signal: tired.signal }).then(
      () => "answered",
      () => "given up",
    );
    await world.seen(`begun-${label}`);
    tired.abort(new Error("tired"));
    const ended = await hung;
    await world.seen(`cancelled-${label}`);
    return { ended, next: plain(await call(client, "echo", { text: "still there" })) };
  },
  "cancellation by the server": async ({ client, world }) => {
    await spendFirstQuestion(client);
    const label = world.label();
    const given = client.answer;
    let wasTold: Promise<boolean> | undefined;
    client.answer = async (question, signal) => {
      const told = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      world.mark(`asked-${label}`);
      wasTold = Promise.race([told, client.era === "modern" ? world.seen(`withdrew-${label}`) : told]).then(
        () => signal.aborted,
      );
      await wasTold;
      return given(question, signal);
    };
    const answer = await call(client, "impatient", { label });
    client.answer = given;
    return { answer: plain(answer), wasTold: await wasTold };
  },
  "a question ends with its call": async ({ client, world }) => {
    await spendFirstQuestion(client);
    const label = world.label();
    const given = client.answer;
    const tired = new AbortController();
    const withdrawn = new Promise<string>((resolve) => {
      client.answer = (question, signal) => {
        signal.addEventListener("abort", () => resolve("withdrawn"));
        world.mark(`asked-${label}`);
        return new Promise(() => undefined);
      };
    });
    call(client, "ask", { what: "elicitation" }, { signal: tired.signal }).catch(() => undefined);
    await world.seen(`asked-${label}`);
    tired.abort(new Error("tired"));
    const ended = await withdrawn;
    client.answer = given;
    return ended;
  },
  sampling: (trial) => ask(trial, "sampling"),
  elicitation: (trial) => ask(trial, "elicitation"),
  roots: (trial) => ask(trial, "roots"),
  "three questions at once": (trial) => ask(trial, "elicitation,sampling,roots"),
  "a question refused": async ({ client }) => {
    const given = client.answer;
    client.answer = () => ({ action: "decline" });
    const answer = await call(client, "ask", { what: "elicitation" });
    client.answer = given;
    return plain(answer);
  },
  pagination: async ({ client }) => {
    const sizes = async (method: string, kind: string) =>
      (await pages(client, method, kind)).map((page) => (page as unknown[]).length);
    return [await sizes("tools/list", "tools"), await sizes("resources/list", "resources")];
  },
  list_changed: async ({ client, world }) => {
    const watch = await client.watch(WATCHED);
    const from = client.heard.length;
    const kinds = ["tools", "prompts", "resources"].map((kind) => `notifications/${kind}/list_changed`);
    const told = () => kinds.map((kind) => heardFrom(client, from, kind).length);
    const marks = await until(
      () => told().every((count) => count > 0),
      () => world.mark(`changed-${world.label()}`),
    );
    await watch.leaveResource();
    await watch.close();
    return { isOnce: told().every((count) => count <= marks) };
  },
  tasks: async ({ client }) => {
    const begin = (given: Json) => {
      const params = { name: "work", arguments: given, task: { ttl: 60_000 } };
      return client.request("tools/call", params).catch(({ code }: { code: unknown }) => ({ refused: code }));
    };
    const done: Json = await begin({});
    const long: Json = await begin({ long: "true" });
    const idOf = ({ task }: Json) => (task as { taskId: string } | undefined)?.taskId ?? "none";
    return {
      offered: (client.introduction()["capabilities"] as Json)["tasks"],
      begun: plain([done, long]),
      got: await outcome(client.request("tasks/get", { taskId: idOf(done) })),
      result: await outcome(client.request("tasks/result", { taskId: idOf(done) })),
      list: await outcome(client.request("tasks/list")),
      cancelled: await outcome(client.request("tasks/cancel", { taskId: idOf(long) })),
    };
  },
} satisfies Record<string, Feature>;

export type FeatureName = keyof typeof FEATURES;
