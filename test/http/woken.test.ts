import { createServer } from "node:http";
import { expect, it, onTestFinished } from "vitest";
import { digestOf } from "../../src/keys/api-key.ts";
import { GatewayError } from "../../src/errors.ts";
import { Authenticator } from "../../src/http/authenticate.ts";
import { listen } from "../../src/http/door.ts";
import { ModernDoor } from "../../src/http/modern-request.ts";
import { createPostMessage } from "../../src/http/post-message.ts";
import type { DoorParts } from "../../src/http/routes.ts";
import { NO_EVENTS } from "../../src/events.ts";
import { KeyRing } from "../../src/keys/key-ring.ts";
import { PostTokens } from "../../src/session/post-token.ts";
import type { SessionRecord } from "../../src/session-store/session-store.ts";
import { createCluster, type Instance } from "../session/instances.ts";
import { onlyServer, settled, silent } from "../session/scripted.ts";

const KEY = "key-of-alice";
const keys = new KeyRing([{ id: "k_alice", caller: "alice", digest: digestOf(KEY) }]);

/** Posts to an instance over HTTP, and tells the status or the reason. */
async function postsTo({ upstream, sessions, reception, elsewhere, carrier }: Instance) {
  const limits = { requestsPerCaller: 1, listensPerCaller: 1, total: 1 };
  const modern = new ModernDoor({ heartbeatMs: 1000, requestTimeoutMs: 1000, limits, log: silent });
  const route = createPostMessage({
    ...{ sessions, reception, elsewhere, carrier, modern },
    servers: onlyServer(upstream),
    mayUse: () => true,
    tokens: new PostTokens(keys),
    authenticator: new Authenticator(keys),
    events: NO_EVENTS,
    trustProxy: "off",
    maxBodyBytes: 1000,
    log: silent,
  } satisfies DoorParts);
  const server = createServer((req, res) => {
    Promise.resolve(route(req, res)).catch((error: unknown) =>
      res.writeHead(500).end(error instanceof GatewayError ? error.reason : String(error)),
    );
  });
  const port = await listen(server, 0, "127.0.0.1");
  onTestFinished(() => void server.close());
  return async (id: string, message: unknown) => {
    const answer = await fetch(`http://127.0.0.1:${port}/messages?sessionId=${id}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-api-key": KEY },
      body: JSON.stringify(message),
    });
    const text = await answer.text();
    return answer.ok ? answer.status : text;
  };
}

const call = (id: number) => ({ jsonrpc: "2.0", id, method: "m" });

/** An instance whose process stands still, and what posts reach it when it goes on. */
async function open() {
  const cluster = createCluster();
  const [here, there] = [await cluster.start("i-1"), await cluster.start("i-2")];
  const { session } = await there.connect();
  await settled();
  const post = await postsTo(there);
  const told = ({ upstream }: Instance) => upstream.links.flatMap((link) => link.told).map(({ id }) => id);
  return { ...cluster, here, there, session, post, told };
}

it("a post that reaches an instance that slept is carried out once, by the next owner of its session", async () => {
  const { here, there, session, post, told, store, clock } = await open();
  await here.claims.claim((await store.get(session.id)) as SessionRecord);
  const before = told(there);
  clock.now += 3000;
  expect(await Promise.all([1, 2, 3].map((id) => post(session.id, call(id))))).toEqual([202, 202, 202]);
  expect(told(there)).toEqual(before);
  expect(told(here).filter(Number)).toHaveLength(3);
  expect(told(here)).toEqual(expect.arrayContaining([1, 2, 3]));
  expect(session.isOpen).toBe(false);
});

it("posts that reach an instance that slept wait for one look at the store, and go on when it is still theirs", async () => {
  const { there, session, post, told, store, clock } = await open();
  const { extend } = store;
  let looks = 0;
  let answer = (): void => undefined;
  const gate = new Promise<void>((resolve) => (answer = resolve));
  const asked = new Promise<void>((resolve) => {
    store.extend = async (...args) => {
      looks += 1;
      resolve();
      await gate;
      return extend(...args);
    };
  });
  clock.now += 3000;
  const answers = [1, 2, 3].map((id) => post(session.id, call(id)));
  await asked;
  expect(told(there)).not.toContain(1);
  answer();
  expect(await Promise.all(answers)).toEqual([202, 202, 202]);
  expect(told(there).filter(Number)).toHaveLength(3);
  expect(told(there)).toEqual(expect.arrayContaining([1, 2, 3]));
  expect(looks).toBe(1);
});
