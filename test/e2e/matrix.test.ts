import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { answerGladly, type MatrixClient } from "./matrix-clients.ts";
import { DEMO_FEATURES } from "./matrix-demo.ts";
import { type Feature, FEATURES, type FeatureName } from "./matrix-features.ts";
import { DEMO_LETTERS, LETTERS, type LettersName } from "./matrix-letters.ts";
import type { RawClient } from "./matrix-raw.ts";
import { refusalOf } from "./matrix-refusals.ts";
import { CLIENTS, openStage, type ServerKind, SERVERS, type Stage } from "./matrix-servers.ts";

const PAIRS = SERVERS.flatMap((server) => CLIENTS.map((client) => ({ client, server })));

const featureOf = (server: ServerKind, name: FeatureName): Feature | null =>
  server === "builtin" ? DEMO_FEATURES[name] : FEATURES[name];

let stage: Stage;
/** A client of each server itself, and what it has seen of each feature. */
const directs = new Map<ServerKind, Promise<MatrixClient>>();
const truths = new Map<string, Promise<unknown>>();

beforeAll(async () => {
  stage = await openStage();
});
afterAll(async () => {
  for (const client of directs.values()) await (await client).close();
  await stage.close();
});

/** What a client sees of a feature without the gateway. */
function truth(server: ServerKind, name: FeatureName): Promise<unknown> {
  const key = `${server} ${name}`;
  const known = truths.get(key);
  if (known !== undefined) return known;
  const direct = directs.get(server) ?? stage.direct(server);
  directs.set(server, direct);
  const feature = featureOf(server, name) as Feature;
  const another = (capabilities: Record<string, unknown>) => stage.direct(server, capabilities);
  const seen = direct.then((client) => feature({ client, world: stage.world, another }));
  truths.set(key, seen);
  return seen;
}

describe.each(PAIRS)("a client by $client, the server $server", ({ client: kind, server }) => {
  let client: MatrixClient;
  let raw: RawClient;
  beforeAll(async () => {
    client = await stage.through(kind, server);
    raw = await stage.raw(kind, server);
  });
  beforeEach(() => {
    client.answer = answerGladly;
  });
  afterAll(async () => {
    await client?.close();
    await raw?.close();
  });

  const features = (Object.keys(FEATURES) as FeatureName[]).filter((name) => featureOf(server, name) !== null);
  it.each(features)("has %s as without the gateway", async (name) => {
    const feature = featureOf(server, name) as Feature;
    const another = (capabilities: Record<string, unknown>) => stage.through(kind, server, capabilities);
    const refusal = refusalOf(kind, server, name);
    const expected = refusal === undefined ? await truth(server, name) : refusal.seen;
    expect(await feature({ client, world: stage.world, another })).toEqual(expected);
  });

  it.each(Object.keys(LETTERS) as LettersName[])("carries letter by letter: %s", async (name) => {
    const { run, expected } = server === "builtin" ? DEMO_LETTERS[name] : LETTERS[name];
    const refusal = refusalOf(kind, server, name);
    expect(await run(raw, stage.world)).toEqual(refusal === undefined ? expected : refusal.seen);
  });
});
