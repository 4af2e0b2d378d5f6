import { afterEach, describe, expect, it } from "vitest";
import { NO_EVENTS } from "../src/events.ts";
import { readKeyScopes } from "../src/key-scopes.ts";
import { AGGREGATE, type ServerConfig } from "../src/server-config.ts";
import type { ServerParts } from "../src/server-parts.ts";
import { openServers, type ServerRegistry, type ServersOptions } from "../src/servers.ts";
import type { Link, Upstream } from "../src/upstream/upstream.ts";
import { expectNoFixtures, fixture } from "./upstream/processes.ts";
import { call, captureLog, encode, never, Recorder } from "./upstream/recorder.ts";

const SETTINGS = {
  model: "per-session",
  idleSeconds: 300,
  discovery: "fallback",
  poolSize: 2,
  maxLineBytes: 1 << 20,
  maxChildren: 20,
  spawnConcurrency: 4,
  startSeconds: 60,
  restarts: 3,
} as const;

/** A server that answers at once. `env` is what its entry gives it. */
function raw(name: string, env: Record<string, string> = {}): ServerConfig {
  return stdio(name, "raw-echo", env);
}

function stdio(name: string, program: string, env: Record<string, string> = {}): ServerConfig {
  const { command, args, env: mark } = fixture(program);
  return {
    name,
    ...SETTINGS,
    kind: "stdio",
    command,
    args,
    cwd: undefined,
    env: { ...mark, ...env },
    secrets: Object.values(env),
  };
}

const builtin = (name: string): ServerConfig => ({ name, ...SETTINGS, kind: "builtin" });

describe("the registry", () => {
  const registries: ServerRegistry[] = [];
  afterEach(async () => {
    await Promise.all(registries.splice(0).map((registry) => registry.close()));
    await expectNoFixtures();
  });

  const { log, text: logged } = captureLog();

  async function open(servers: ServerConfig[], options: Partial<ServersOptions> & { allow?: string } = {}) {
    const { allow, ...rest } = options;
    const callers = (allow ?? "").split(",").map((entry) => entry.split("=")[0] as string);
    const { scopes, problems } = readKeyScopes(allow, callers, servers);
    expect(problems).toEqual([]);
    const registry = await openServers({
      servers,
      scopes,
      env: process.env,
      version: "1.2.3",
      events: NO_EVENTS,
      log,
      ...rest,
    });
    registries.push(registry);
    return registry;
  }

  /** Opens a link and introduces itself. */
  async function talkTo(upstream: Upstream | undefined): Promise<{ link: Link; seen: Recorder }> {
    const seen = new Recorder();
    const link = await (upstream as Upstream).open(seen, never());
    const params = {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "test", version: "1" },
    };
    await link.send(encode({ id: "hello", method: "initialize", params }));
    await seen.answer("hello");
    await link.send(encode({ method: "notifications/initialized" }));
    return { link, seen };
  }

  async function toolsOf(upstream: Upstream | undefined): Promise<string[]> {
    const { link, seen } = await talkTo(upstream);
    await link.send(encode({ id: "list", method: "tools/list", params: {} }));
    const { result } = await seen.answer("list");
    await link.close();
    const { tools } = result as unknown as { tools: { name: string }[] };
    return tools.map(({ name }) => name);
  }

  async function say(upstream: Upstream | undefined, name: string, args = {}): Promise<string | undefined> {
    const { link, seen } = await talkTo(upstream);
    await link.send(call("call", name, args));
    const { result } = await seen.answer("call");
    await link.close();
    return result?.content?.[0]?.text;
  }

  /** Servers that only count how often they are closed. */
  function counted() {
    const built: string[] = [];
    const started: string[] = [];
    const closed: string[] = [];
    const build = async ({ name, maxChildren }: ServerConfig): Promise<ServerParts> => {
      const version = `${name} ${maxChildren}`;
      built.push(version);
      const upstream = (): Upstream => ({
        name,
        isFull: false,
        open: () => Promise.reject(new Error("not here")),
        close: () => Promise.reject(new Error("a view ended a server")),
      });
      const stateless = upstream();
      return {
        direct: upstream(),
        statelessOf: () => stateless,
        start: () => void started.push(version),
        processes: () => undefined,
        close: async () => void closed.push(version),
      };
    };
    return { build, built, started, closed };
  }

  describe("what stands at the root", () => {
    it("is the only server, or all together", async () => {
      expect((await open([builtin("one")])).root).toBe("one");
      const several = await open([builtin("one"), builtin("two")]);
      expect(several.root).toBe(AGGREGATE);
      expect(several.names).toEqual(["one", "two"]);
    });

    it("holds the tools of all under their servers' names, and reaches each", async () => {
      const registry = await open([raw("one"), raw("two")]);
      const tools = await toolsOf(registry.upstreamFor(AGGREGATE, "alice"));
      expect(tools).toContain("one__echo");
      expect(tools).toContain("two__echo");
      expect(await say(registry.upstreamFor(AGGREGATE, "alice"), "two__echo", { text: "hi" })).toBe("hi");
    });

    it("is not there as all together where there is one", async () => {
      expect((await open([builtin("one")])).upstreamFor(AGGREGATE, "alice")).toBeUndefined();
    });
  });

  describe("SEC-30 what a caller sees", () => {
    const allow = "alice=one two/echo,bob=two,carol=three";
    const servers = () => [raw("one"), raw("two")];

    it("is nothing of a server that it may not use, just as of one that is not there", async () => {
      const registry = await open(servers(), { allow });
      for (const side of ["upstreamFor", "statelessFor"] as const) {
        const sees = (server: string, caller: string) => registry[side](server, caller) !== undefined;
        expect([sees("one", "alice"), sees("two", "alice"), sees("three", "alice")]).toEqual([
          true,
          true,
          false,
        ]);
        expect([sees("one", "bob"), sees("two", "bob"), sees(AGGREGATE, "bob")]).toEqual([false, true, true]);
        expect([sees("one", "carol"), sees("three", "carol"), sees(AGGREGATE, "carol")]).toEqual([
          false,
          false,
          false,
        ]);
        expect([sees("one", "mallory"), sees(AGGREGATE, "mallory")]).toEqual([false, false]);
        for (const name of ["", "__proto__", "constructor", "one ", "ONE"])
          expect(sees(name, "alice")).toBe(false);
      }
    });

    it("is a whole server, some of its tools, and the same in all together", async () => {
      const registry = await open(servers(), { allow });
      expect(await toolsOf(registry.upstreamFor("one", "alice"))).toContain("pid");
      expect(await toolsOf(registry.upstreamFor("two", "alice"))).toEqual(["echo"]);
      const all = await toolsOf(registry.upstreamFor(AGGREGATE, "alice"));
      expect(all).toContain("one__pid");
      expect(all.filter((name) => name.startsWith("two"))).toEqual(["two__echo"]);
      const bobs = await toolsOf(registry.upstreamFor(AGGREGATE, "bob"));
      expect(bobs.filter((name) => !name.startsWith("two__"))).toEqual([]);
      expect(bobs).toContain("two__pid");
    });

    it("is everything where nothing is said", async () => {
      const registry = await open(servers());
      expect(registry.upstreamFor("one", "anybody")).toBe(registry.upstreamFor("one", "else"));
    });

    it("is made once", async () => {
      const registry = await open(servers(), { allow });
      for (const server of ["two", AGGREGATE]) {
        const view = registry.upstreamFor(server, "alice");
        expect(registry.upstreamFor(server, "alice")).toBe(view);
        expect(registry.statelessFor(server, "alice")).not.toBe(view);
        expect(registry.upstreamFor(server, "bob")).not.toBe(view);
      }
    });
  });

  describe("a new configuration", () => {
    it("says what it adds, changes and removes, and touches nothing else", async () => {
      const { build, built, closed } = counted();
      const registry = await open([builtin("same"), builtin("other"), builtin("old")], { build });
      const same = registry.upstreamFor("same", "alice");
      const other = registry.upstreamFor("other", "alice");
      const next = [builtin("new"), { ...builtin("other"), maxChildren: 21 }, builtin("same")];
      const replaced = await registry.replace(next);
      expect(replaced).toMatchObject({ added: ["new"], changed: ["other"], removed: ["old"] });
      expect(built.slice(3)).toEqual(["new 20", "other 21"]);
      expect(registry.names).toEqual(["new", "other", "same"]);
      expect(registry.upstreamFor("same", "alice")).toBe(same);
      expect(registry.upstreamFor("other", "alice")).not.toBe(other);
      expect(registry.upstreamFor("old", "alice")).toBeUndefined();
      expect(registry.upstreamFor("new", "alice")).toBeDefined();

      expect(closed, "their sessions may still speak").toEqual([]);
      await Promise.all([replaced.closeReplaced(), replaced.closeReplaced()]);
      expect(closed.toSorted()).toEqual(["old 20", "other 20"]);
      await Promise.all([registry.close(), registry.close()]);
      expect(closed.toSorted()).toEqual(["new 20", "old 20", "other 20", "other 21", "same 20"]);
    });

    it("is started ahead as far as the one before was, and only once", async () => {
      const { build, started } = counted();
      const registry = await open([builtin("one")], { build });
      await registry.replace([builtin("one"), builtin("two")]);
      expect(started).toEqual([]);
      registry.start();
      await registry.replace([builtin("one"), { ...builtin("two"), maxChildren: 21 }, builtin("three")]);
      expect(started).toEqual(["one 20", "two 20", "two 21", "three 20"]);
    });

    it("changes nothing when a server cannot be built, and a registry begins with all or not at all", async () => {
      const { build, started, closed } = counted();
      const fails = (config: ServerConfig) =>
        config.name === "broken" ? Promise.reject(new Error("not installed")) : build(config);
      const registry = await open([builtin("one"), builtin("two")], { build: fails });
      registry.start();
      const one = registry.upstreamFor("one", "alice");
      const next = [builtin("new"), builtin("broken"), builtin("one")];
      await expect(registry.replace(next)).rejects.toThrow("not installed");
      expect(registry.names).toEqual(["one", "two"]);
      expect(registry.upstreamFor("one", "alice")).toBe(one);
      expect([started, closed]).toEqual([["one 20", "two 20"], []]);
      await expect(open(next, { build: fails })).rejects.toThrow("not installed");
    });

    it("starts nothing when the registry was closed meanwhile", async () => {
      const { build, started } = counted();
      const registry = await open([builtin("one")], { build });
      registry.start();
      const replacing = registry.replace([builtin("one"), builtin("two")]);
      await registry.close();
      await replacing;
      expect(started).toEqual(["one 20"]);
    });

    it("is nothing when it says the same", async () => {
      const { build, built } = counted();
      const registry = await open([raw("one"), raw("two")], { build, allow: "alice=one/echo two" });
      const views = () => [AGGREGATE, "one", "two"].map((name) => registry.upstreamFor(name, "alice"));
      const before = views();
      const changes = await registry.replace([raw("one"), raw("two")]);
      expect(changes).toMatchObject({ added: [], changed: [], removed: [] });
      expect(built).toHaveLength(2);
      views().forEach((view, index) => expect(view).toBe(before[index]));
    });

    it("moves the root between one server and all together", async () => {
      const registry = await open([builtin("one")]);
      await registry.replace([builtin("one"), builtin("two")]);
      expect(registry.root).toBe(AGGREGATE);
      expect(registry.upstreamFor(AGGREGATE, "alice")).toBeDefined();
      await registry.replace([builtin("two")]);
      expect(registry.root).toBe("two");
      expect(registry.upstreamFor(AGGREGATE, "alice")).toBeUndefined();
    });

    it("leaves the sessions of the others as they are, and ends those of what it replaces", async () => {
      const registry = await open([raw("one"), raw("two")]);
      const [one, two] = await Promise.all([
        talkTo(registry.upstreamFor("one", "alice")),
        talkTo(registry.upstreamFor("two", "alice")),
      ]);
      const { closeReplaced } = await registry.replace([raw("one"), raw("two", { CHANGED: "changed" })]);
      await closeReplaced();
      expect(await two.seen.end()).toBe("closed");
      await one.link.send(call(1, "echo", { text: "still here" }));
      expect((await one.seen.answer(1)).result?.content?.[0]?.text).toBe("still here");
      expect(await say(registry.upstreamFor("two", "alice"), "echo", { text: "new" })).toBe("new");
      await one.link.close();
    });

    it("lets a session of all together go on, with the servers of now", async () => {
      const registry = await open([raw("one"), raw("two")]);
      const { link, seen } = await talkTo(registry.upstreamFor(AGGREGATE, "alice"));
      const { closeReplaced } = await registry.replace([raw("one"), raw("two", { CHANGED: "changed" })]);
      await closeReplaced();
      await link.send(call(1, "one__echo", { text: "untouched" }));
      expect((await seen.answer(1)).result?.content?.[0]?.text).toBe("untouched");
      await expect
        .poll(async () => {
          const id = `try ${performance.now()}`;
          await link.send(call(id, "two__echo", { text: "again" }));
          return (await seen.answer(id)).result?.content?.[0]?.text;
        })
        .toBe("again");
      expect(seen.ends).toEqual([]);
      await link.close();
    });
  });

  describe("a server of its own process", () => {
    it("SEC-41 gets what its entry says beside the few harmless variables, and is given no other", async () => {
      const env = { ...process.env, OTHER_SECRET: "canary-other", MCP_API_KEY: "canary-key" };
      const registry = await open([stdio("one", "prints-environment", { GIVEN: "canary-given" })], { env });
      const seen = new Recorder();
      const link = await (registry.upstreamFor("one", "alice") as Upstream).open(seen, never());
      await link.send(encode({ method: "notifications/initialized" }));
      const { params } = await seen.notification("environment");
      expect(params).toMatchObject({ GIVEN: "canary-given", PATH: process.env["PATH"] });
      expect(JSON.stringify(params)).not.toMatch(/canary-(other|key)/);
      await link.close();
    });

    it("SEC-20 is heard in the log without the secrets that it was given", async () => {
      const talks = "console.error(`it is ${process.env.GIVEN}`); process.stdin.resume()";
      const config = raw("talks", { GIVEN: "canary-given" }) as Extract<ServerConfig, { kind: "stdio" }>;
      const registry = await open([{ ...config, args: ["-e", talks] }]);
      const link = await (registry.upstreamFor("talks", "alice") as Upstream).open(new Recorder(), never());
      await expect.poll(logged).toContain("it is [redacted]");
      expect(logged()).not.toContain("canary-given");
      await link.close();
    });

    it("SEC-20 is named alone in the log when it cannot be started", async () => {
      const registry = await open([
        {
          ...(raw("broken-one", { TOKEN: "canary-env" }) as Extract<ServerConfig, { kind: "stdio" }>),
          command: "/nonexistent/program",
          args: ["--key=canary-argument"],
        },
      ]);
      const upstream = registry.upstreamFor("broken-one", "alice") as Upstream;
      await expect(talkTo(upstream)).rejects.toMatchObject({ reason: "upstream_start_failed" });
      const lines = logged()
        .split("\n")
        .filter((line) => line.includes("broken-one"));
      expect(lines.join("\n")).toContain("could not be started");
      expect(logged()).not.toMatch(/canary-(env|argument)/);
    });

    it("is counted", async () => {
      const registry = await open([raw("one"), builtin("two")]);
      const { link } = await talkTo(registry.upstreamFor("one", "alice"));
      expect(registry.stats()).toMatchObject([
        { name: "one", kind: "stdio", model: "per-session", processes: { children: 1, waiting: 0 } },
        { name: "two", kind: "builtin", processes: undefined },
      ]);
      await link.close();
    });

    it("is one for all when it is shared", async () => {
      const registry = await open([{ ...raw("one"), model: "shared" }]);
      const first = await talkTo(registry.upstreamFor("one", "alice"));
      const second = await talkTo(registry.upstreamFor("one", "bob"));
      for (const { link, seen } of [first, second]) {
        await link.send(call(1, "pid"));
        await seen.answer(1);
      }
      expect(first.seen.texts().at(-1)).toBe(second.seen.texts().at(-1));
      expect(registry.stats()[0]?.processes?.children).toBe(1);
      await registry.close();
    });

    it("is started ahead when it is a pool, and left alone until then", async () => {
      const registry = await open([{ ...raw("one"), model: "pool", poolSize: 3 }]);
      const children = () => registry.stats()[0]?.processes?.children;
      expect(children()).toBe(0);
      registry.start();
      await expect.poll(children).toBe(3);
      expect(await say(registry.upstreamFor("one", "alice"), "echo", { text: "hi" })).toBe("hi");
    });

    it("is left alone when it fails again and again", async () => {
      const registry = await open([stdio("fails", "crash-at-start")]);
      const upstream = registry.upstreamFor("fails", "alice") as Upstream;
      await expect
        .poll(async () => {
          const seen = new Recorder();
          const opened = await upstream
            .open(seen, never())
            .catch((error: { reason: string }) => error.reason);
          if (typeof opened === "string") return opened;
          return seen.end();
        })
        .toBe("upstream_unavailable");
    });

    it("leaves nothing behind when the registry is closed", async () => {
      const registry = await open([raw("one"), raw("two")]);
      const { seen } = await talkTo(registry.upstreamFor(AGGREGATE, "alice"));
      await registry.close();
      await expectNoFixtures();
      expect(registry.stats().map(({ processes }) => processes?.children)).toEqual([0, 0]);
      expect(seen.messages.length).toBeGreaterThan(0);
    });
  });
});
