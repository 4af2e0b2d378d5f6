import { Agent } from "undici";
import type { Log } from "../log.ts";
import { callableOrigin } from "./address.ts";
import {
  fromBytes,
  MAX_PAYLOAD_BYTES,
  openAnswer,
  sealAsk,
  toBytes,
  type RelayKey,
  type Sealed,
} from "./envelope.ts";
import { wasNeverSent, wasRefused } from "./http-failure.ts";
import { createInbox, HELLO } from "./inbox.ts";
import { watchLapses } from "./lapse.ts";
import { createRareLog } from "./rare-log.ts";
import type { Peer, Relay, RelayEvents, RelayMessage, RelayOutcome } from "./relay.ts";

/** Where every instance takes messages. */
export const RELAY_PATH = "/internal/relay";
/** The header that a message's seal travels in: it is short, so it is here before the first byte of a body. */
const RELAY_HEADER = "x-mcp-relay";

export interface HttpRelayOptions {
  instanceId: string;
  key: RelayKey;
  /** Where other instances reach this one, such as `http://10.0.0.5:3000`. */
  address: string;
  /** Hosts that may be called besides private and local addresses. */
  allow: readonly string[];
  log: Log;
  events: RelayEvents;
}

/**
 * What the route answers. `unproven`: as if there were nothing here. `silent`: not at all, for the message is or was
 * being carried out and its deadline is past.
 */
export type RelayReply = { readonly status: 200 | 421; readonly body: Buffer } | "unproven" | "silent";

export interface HttpRelay extends Relay {
  /** Takes what came to `RELAY_PATH`. `readBody` is called for a proven `header` only. */
  receive(header: string, readBody: (maxBytes: number) => Promise<Buffer>): Promise<RelayReply>;
  /** Whether a message to our own address reaches this very instance. */
  prove(): Promise<boolean>;
}

const CONNECTIONS = 16;
const CONNECT_MS = 1000;
/** Less than the door keeps a connection open, so that none is closed under a message. */
const KEEP_ALIVE_MS = 60_000;
const MAX_ANSWER_BYTES = 1024 * 1024;
const PROVE_MS = 2000;

/** What became of one try; `lost` is the only one after which the message may have arrived. */
type Try = Exclude<RelayOutcome, { kind: "unknown" }> | { readonly kind: "lost" };

/** Instances call each other over HTTP, on the port that clients use. Touches nothing until the first message. */
export function openHttpRelay(options: HttpRelayOptions): HttpRelay {
  const { instanceId, key, address, allow, log, events } = options;
  const inbox = createInbox({ instanceId, key, log, events });
  const lapses = watchLapses(events.onLapse);
  const warn = createRareLog(log);
  const common = {
    connect: { timeout: CONNECT_MS, autoSelectFamily: true },
    maxResponseSize: MAX_ANSWER_BYTES,
    headersTimeout: 0,
  };
  const kept = new Agent({ ...common, connections: CONNECTIONS, keepAliveTimeout: KEEP_ALIVE_MS });
  /** Its connections carry one message each. */
  const fresh = new Agent({ ...common, connections: CONNECTIONS, pipelining: 0 });
  let closing: Promise<void> | undefined;

  /** One HTTP request. Never rejects. */
  async function attempt(agent: Agent, origin: string, call: Call, signal: AbortSignal): Promise<Try> {
    try {
      const { statusCode, body } = await agent.request({
        origin,
        path: RELAY_PATH,
        method: "POST",
        headers: { [RELAY_HEADER]: call.seal, "content-type": "application/octet-stream" },
        body: call.payload,
        signal,
      });
      const bytes = Buffer.from(await body.arrayBuffer());
      const said = openAnswer(key, fromBytes(bytes));
      const isOurs = said !== undefined && said.id === call.id && said.to === instanceId;
      if (isOurs && statusCode === 200 && said.from === call.to) {
        return { kind: "answered", answer: said.answer };
      }
      // The address went to another of us.
      if (isOurs && statusCode === 421 && said.from !== call.to) return { kind: "dead" };
      if (statusCode !== 404) return { kind: "lost" };
      warn({ instance: call.to }, "another instance does not take our proof: secret or clock differ");
      return { kind: "unreachable" };
    } catch (error) {
      if (wasRefused(error)) return { kind: "dead" };
      return { kind: wasNeverSent(error) ? "unreachable" : "lost" };
    }
  }

  async function send(to: Peer, message: RelayMessage, deadlineMs: number): Promise<RelayOutcome> {
    const origin = callableOrigin(to.address, allow);
    if (origin === undefined || closing !== undefined) return { kind: "unreachable" };
    const sealed = sealAsk(key, { from: instanceId, to: to.instanceId, deadlineMs }, message);
    if (sealed.payload.length > MAX_PAYLOAD_BYTES) return { kind: "unreachable" };
    const call = { ...sealed, to: to.instanceId };
    const over = new AbortController();
    const { signal } = over;
    const deadline = setTimeout(() => over.abort(), deadlineMs);
    try {
      const first = attempt(kept, origin, call, signal);
      const early = await Promise.race([first, pause(deadlineMs / 2, signal)]);
      if (early !== undefined && early.kind !== "lost") return early;
      if (signal.aborted) return { kind: "unknown" };
      // It may have arrived. It is sent again under the same id, so that it is still carried out once.
      const tries = [first, attempt(fresh, origin, call, signal)];
      const answer = await Promise.any(tries.map(answered)).catch(() => undefined);
      return answer ?? { kind: "unknown" };
    } finally {
      clearTimeout(deadline);
      over.abort();
    }
  }

  return {
    kind: "http",
    address,
    helloMs: 1000,
    send,
    receive: async (header, readBody) => {
      const admission = inbox.admit(header);
      if (admission.kind === "refused") return "unproven";
      if (admission.kind === "misdirected") return { status: 421, body: toBytes(admission.reply) };
      const reply = await admission.carryOut(await readBody(admission.size));
      if (reply === "refused") return "unproven";
      return reply === "silent" ? "silent" : { status: 200, body: toBytes(reply) };
    },
    prove: async () => (await send({ instanceId, address }, HELLO, PROVE_MS)).kind === "answered",
    close: () => {
      inbox.close();
      lapses.close();
      return (closing ??= Promise.all([kept.destroy(), fresh.destroy()]).then(() => undefined));
    },
  };
}

interface Call extends Sealed {
  readonly id: string;
  readonly to: string;
}

async function answered(attempt: Promise<Try>): Promise<RelayOutcome> {
  const outcome = await attempt;
  if (outcome.kind !== "answered") throw new Error("no answer");
  return outcome;
}

/** Resolves with nothing after some time, or when `signal` says so. */
const pause = (milliseconds: number, signal: AbortSignal): Promise<undefined> =>
  new Promise((resolve) => {
    const timer = setTimeout(() => resolve(undefined), milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve(undefined)), { once: true });
  });
