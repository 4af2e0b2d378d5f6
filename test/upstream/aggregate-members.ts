import { join } from "node:path";
import { createAggregateUpstream } from "../../src/upstream/aggregate.ts";
import { createStdioUpstream } from "../../src/upstream/stdio.ts";
import type { Link, LinkEvents, Upstream } from "../../src/upstream/upstream.ts";
import { captureLog, encode, type Message, never, Recorder } from "./recorder.ts";

type Said = Message & { params?: Record<string, unknown> & { name?: string; cursor?: string; uri?: string } };

/** A link whose other end is the test. */
export class ScriptedLink implements Link {
  readonly raw: string[] = [];
  readonly events: LinkEvents;
  readonly #reply: Reply;
  isPaused = false;
  isClosed = false;

  constructor(events: LinkEvents, reply: Reply) {
    this.events = events;
    this.#reply = reply;
  }

  /** What it was sent, parsed. */
  get told(): Said[] {
    return this.raw.map((text) => JSON.parse(text) as Said);
  }

  asked(method: string): Said[] {
    return this.told.filter((message) => message.method === method);
  }

  send(message: Buffer): undefined {
    this.raw.push(message.toString());
    const said = JSON.parse(message.toString()) as Said;
    queueMicrotask(() => {
      if (this.isClosed) return;
      const reply = said.method === undefined ? undefined : this.#reply(said, this);
      if (reply === undefined || said.id === undefined) return;
      this.say(
        typeof reply === "string"
          ? reply.replace("ID", () => idText(message.toString()))
          : { id: said.id, ...reply },
      );
    });
  }

  say(message: Message | string): void {
    this.events.onMessage(typeof message === "string" ? Buffer.from(message) : encode(message));
  }

  die(end: "upstream_exited" | "upstream_unreachable" = "upstream_exited"): void {
    this.isClosed = true;
    this.events.onEnd(end);
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  close(): Promise<void> {
    if (!this.isClosed) {
      this.isClosed = true;
      this.events.onEnd("closed");
    }
    return Promise.resolve();
  }
}

/** What a member answers: a message without its id, or the text of a whole one with ID for the id. */
export type Reply = (
  said: Said,
  link: ScriptedLink,
) => { result?: Record<string, unknown>; error?: { code: number; message: string } } | string | undefined;

export interface ScriptedMember extends Upstream {
  readonly links: ScriptedLink[];
  readonly last: ScriptedLink;
  /** Throws what it returns when a link is opened. */
  failure: (() => Error) | undefined;
  opens: number;
}

/** A server whose answers are the test's; it introduces itself with these capabilities. */
export function scriptedMember(
  name: string,
  reply: Reply = () => undefined,
  capabilities: Record<string, unknown> = { tools: {} },
): ScriptedMember {
  const links: ScriptedLink[] = [];
  const member: ScriptedMember = {
    name,
    isFull: false,
    links,
    get last() {
      return links.at(-1) as ScriptedLink;
    },
    failure: undefined,
    opens: 0,
    async open(events) {
      member.opens += 1;
      if (member.failure !== undefined) throw member.failure();
      const link = new ScriptedLink(events, (said, on) => {
        const answer = reply(said, on);
        if (answer !== undefined || said.method !== "initialize") return answer;
        const { protocolVersion } = said.params as { protocolVersion: string };
        return { result: { protocolVersion, capabilities, serverInfo: { name, version: "1" } } };
      });
      links.push(link);
      return link;
    },
    close: () => Promise.resolve(),
  };
  return member;
}

/** Answers a method with a result. */
export const answering =
  (results: Record<string, Record<string, unknown>>): Reply =>
  ({ method }) => {
    const result = results[method as string];
    return result === undefined ? undefined : { result };
  };

/** As it was written: a number may be longer than JavaScript's. */
const idText = (message: string): string => /"id":("(?:[^"\\]|\\.)*"|[^,}]+)/.exec(message)?.[1] as string;

/** A server that is never there, and never says so. */
export function hangingMember(name: string): ScriptedMember {
  const member = scriptedMember(name);
  member.open = (_, signal) => {
    member.opens += 1;
    return new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
  };
  return member;
}

export const fixture = (name: string, file: string): Upstream =>
  createStdioUpstream({
    name,
    command: process.execPath,
    args: [join(import.meta.dirname, "../fixtures", `${file}.mjs`)],
    env: {},
    maxLineBytes: 4 * 1024 * 1024,
    graceMs: 500,
    log: captureLog().log,
  });

export const INITIALIZE = {
  protocolVersion: "2025-06-18",
  capabilities: {},
  clientInfo: { name: "test", version: "1" },
};

export const MODERN = { "io.modelcontextprotocol/protocolVersion": "2026-07-28" };

export interface Opened {
  upstream: Upstream;
  link: Link;
  seen: Recorder;
  /** Every message as it came. */
  raw: string[];
  /** Sends a request, and answers what it is answered. */
  ask: (id: number | string, method: string, params?: Record<string, unknown>) => Promise<Message>;
  logged: () => string;
}

export function aggregate(members: readonly Upstream[], patienceMs = 10_000) {
  const { log, text } = captureLog();
  const options = { name: "*", members, version: "1.2.3", startMs: 20_000, patienceMs, log };
  return { upstream: createAggregateUpstream(options), logged: text };
}

export async function open(members: readonly Upstream[], patienceMs?: number): Promise<Opened> {
  const { upstream, logged } = aggregate(members, patienceMs);
  return { ...(await openOn(upstream)), logged };
}

export async function openOn(upstream: Upstream): Promise<Omit<Opened, "logged">> {
  const seen = new Recorder();
  const raw: string[] = [];
  const link = await upstream.open(
    {
      onMessage: (message) => {
        raw.push(message.toString());
        seen.onMessage(message);
      },
      onEnd: (end) => seen.onEnd(end),
    },
    never(),
  );
  const ask: Opened["ask"] = async (id, method, params) => {
    await link.send(encode({ id, method, ...(params === undefined ? {} : { params }) }));
    return seen.answer(id);
  };
  return { upstream, link, seen, raw, ask };
}

/** The same, introduced. */
export async function initialized(
  members: readonly Upstream[],
  patienceMs?: number,
): Promise<Opened & { introduction: Message }> {
  const opened = await open(members, patienceMs);
  const introduction = await opened.ask("init", "initialize", INITIALIZE);
  await opened.link.send(encode({ method: "notifications/initialized" }));
  return { ...opened, introduction };
}

export const names = (message: Message, field = "tools"): unknown[] =>
  ((message.result?.[field] ?? []) as { name?: string; uri?: string }[]).map(({ name, uri }) => uri ?? name);
