import { NO_EVENTS } from "../../src/events.ts";
import type { GatewayError } from "../../src/errors.ts";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import type { Told } from "../../src/session/handshake.ts";
import { Repeatable } from "../../src/session/repeatable.ts";
import type { SessionLimits, SessionParts } from "../../src/session/session-parts.ts";
import { Session } from "../../src/session/session.ts";
import { LIMITS, offers, scriptedUpstream, ScriptedStream, silent, type ScriptedLink } from "./scripted.ts";

export interface OpenSessionOptions extends Partial<
  Pick<SessionParts, "told" | "journal" | "epoch" | "transport" | "calls">
> {
  limits?: Partial<SessionLimits>;
  /** Links open when this resolves. */
  gate?: Promise<unknown>;
  /** What the clock says at first. */
  startsAt?: number;
}

/** Limits of a session that outlives its stream and its server. */
export const DURABLE = { ...LIMITS, orphanMs: 120_000, restarts: 3 };

/** When `openIntroduced` attached its stream: long enough before 0 for nothing of then to be in doubt. */
export const INTRODUCED_AT = -30_000;

/** One session with a stream, between a client and a server that are the test's, on a clock of the test's. */
export function openSession({
  limits = {},
  gate,
  epoch = 1,
  startsAt = 0,
  transport = "sse",
  ...more
}: OpenSessionOptions = {}) {
  const upstream = scriptedUpstream(gate);
  const clock = { now: startsAt };
  const ends: string[] = [];
  const told: Told[] = [];
  const repeatable = new Repeatable();
  const session = new Session({
    id: "s",
    epoch,
    caller: "default",
    key: undefined,
    ageMs: 0,
    server: "scripted",
    transport,
    upstream,
    limits: { ...LIMITS, ...limits },
    repeatable,
    events: NO_EVENTS,
    log: silent,
    now: () => clock.now,
    retryMs: () => 1234,
    makeRoom: () => undefined,
    onTold: (_session, news) => told.push(news),
    onAdopted: () => undefined,
    onEnd: (_session, end) => ends.push(end),
    ...more,
  });
  const deliver = async (message: unknown) => {
    const bytes = Buffer.from(typeof message === "string" ? message : JSON.stringify(message));
    await session.deliver(bytes, scanMessage(bytes) as Envelope);
  };
  const call = (id: unknown, method = "m", params?: unknown) =>
    deliver({ jsonrpc: "2.0", id, method, params });
  const attach = (after?: number) => {
    const stream = new ScriptedStream();
    session.attach(stream, after);
    return stream;
  };
  const stream = attach();
  const answers = () => stream.messages;
  const link = (at = 0) => upstream.links[at] as ScriptedLink;
  /** The server answers a request. */
  const answer = (id: unknown, at = upstream.links.length - 1) =>
    link(at).say({ jsonrpc: "2.0", id, result: { of: id } });
  return {
    session,
    upstream,
    clock,
    ends,
    told,
    stream,
    repeatable,
    deliver,
    call,
    attach,
    answers,
    answer,
    link,
  };
}

/** The same at 0 ms, of a client that has introduced itself long enough ago to have its answer without doubt. */
export async function openIntroduced(
  { limits = {}, ...more }: OpenSessionOptions = {},
  capabilities: unknown = {},
) {
  const opened = openSession({ startsAt: INTRODUCED_AT, ...more, limits: { ...DURABLE, ...limits } });
  opened.upstream.reply = offers(capabilities);
  await opened.call("init", "initialize", { clientInfo: { name: "c" } });
  opened.stream.take();
  opened.clock.now = 0;
  await opened.deliver({ jsonrpc: "2.0", method: "notifications/initialized" });
  opened.stream.written.length = 0;
  return opened;
}

export const reasonOf = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "given",
    (error: unknown) => (error as GatewayError).reason,
  );
