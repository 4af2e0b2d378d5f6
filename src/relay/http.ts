import { Agent } from "undici";
import type { Log } from "../log.ts";
import { createOriginCheck } from "./address.ts";
import { fromBytes, MAX_PAYLOAD_BYTES, openAnswer, sealAsk, toBytes, type RelayKey } from "./envelope.ts";
import { wasNeverSent, wasRefused } from "./http-failure.ts";
import { tryPost, type Answered, type Try } from "./http-try.ts";
import { createInbox, HELLO } from "./inbox.ts";
import { createJoin, type Carry } from "./join.ts";
import { watchLapses } from "./lapse.ts";
import { createRareLog } from "./rare-log.ts";
import type { Relay, RelayEvents, RelayOutcome } from "./relay.ts";

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

const UNREACHABLE: RelayOutcome = { kind: "unreachable" };
const UNKNOWN: RelayOutcome = { kind: "unknown" };

/** What became of one try; `lost` is the only one after which the message may have arrived. */
type Judged = Exclude<RelayOutcome, { kind: "unknown" }> | { readonly kind: "lost" };

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
  const originOf = createOriginCheck(allow);
  let closing: Promise<void> | undefined;

  /** What an answer means. */
  function judge(call: { id: string; to: string }, answered: Answered): Judged {
    if ("error" in answered) {
      if (wasRefused(answered.error)) return { kind: "dead" };
      return { kind: wasNeverSent(answered.error) ? "unreachable" : "lost" };
    }
    const said = openAnswer(key, fromBytes(answered.body));
    const isOurs = said !== undefined && said.id === call.id && said.to === instanceId;
    if (isOurs && answered.status === 200 && said.from === call.to) {
      if (said.joins === true) join.learn(call.to);
      return { kind: "answered", answer: said.answer };
    }
    // The address went to another of us.
    if (isOurs && answered.status === 421 && said.from !== call.to) return { kind: "dead" };
    if (answered.status !== 404) return { kind: "lost" };
    warn({ instance: call.to }, "another instance does not take our proof: secret or clock differ");
    return { kind: "unreachable" };
  }

  const carry: Carry = (to, message, deadlineMs, mark) => {
    const origin = originOf(to.address);
    if (origin === undefined || closing !== undefined) return Promise.resolve(UNREACHABLE);
    const sealed = sealAsk(key, { from: instanceId, to: to.instanceId, deadlineMs }, message, mark);
    if (sealed.payload.length > MAX_PAYLOAD_BYTES) return Promise.resolve(UNREACHABLE);
    const call = { id: mark.id, to: to.instanceId };
    const headers = [RELAY_HEADER, sealed.seal, "content-type", "application/octet-stream"];
    const request = { origin, path: RELAY_PATH, headers, body: sealed.payload };
    return new Promise((resolve) => {
      const deadline = performance.now() + deadlineMs;
      const tries: Try[] = [];
      let [begun, lost] = [0, 0];
      let timer = setTimeout(sendAgain, deadlineMs / 2);

      function finish(outcome: RelayOutcome): void {
        clearTimeout(timer);
        for (const one of tries) one.abort();
        resolve(outcome);
      }
      function sendOver(agent: Agent): void {
        begun += 1;
        const one = tryPost(agent, request, (answered) => {
          const outcome = judge(call, answered);
          // After a second try nobody knows of which one a failure tells.
          if (outcome.kind === "answered" || (begun === 1 && outcome.kind !== "lost")) {
            return finish(outcome as RelayOutcome);
          }
          lost += 1;
          if (begun === 1) sendAgain();
          else if (lost === 2) finish(UNKNOWN);
        });
        tries.push(one);
      }
      /** It may have arrived. It is sent again under the same id, so that it is still carried out once. */
      function sendAgain(): void {
        clearTimeout(timer);
        const leftMs = deadline - performance.now();
        if (leftMs <= 0) return finish(UNKNOWN);
        timer = setTimeout(finish, leftMs, UNKNOWN);
        sendOver(fresh);
      }
      sendOver(kept);
    });
  };
  const join = createJoin(carry);

  return {
    kind: "http",
    address,
    helloMs: 1000,
    send: join.send,
    receive: async (header, readBody) => {
      const admission = inbox.admit(header);
      if (admission.kind === "refused") return "unproven";
      if (admission.kind === "misdirected") return { status: 421, body: toBytes(admission.reply) };
      const reply = await admission.carryOut(await readBody(admission.size));
      if (reply === "refused") return "unproven";
      return reply === "silent" ? "silent" : { status: 200, body: toBytes(reply) };
    },
    prove: async () => (await join.send({ instanceId, address }, HELLO, PROVE_MS)).kind === "answered",
    close: () => {
      inbox.close();
      lapses.close();
      return (closing ??= Promise.all([kept.destroy(), fresh.destroy()]).then(() => undefined));
    },
  };
}
