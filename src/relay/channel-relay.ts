import type { Log } from "../log.ts";
import { ask } from "./ask.ts";
import { within, type Channels } from "./channels.ts";
import { isAsk, MAX_PAYLOAD_BYTES, openAnswer, sealAsk, type RelayKey, type Sealed } from "./envelope.ts";
import { createInbox } from "./inbox.ts";
import { createJoin, type Carry } from "./join.ts";
import { watchLapses } from "./lapse.ts";
import { createRareLog } from "./rare-log.ts";
import type { Relay, RelayEvents, RelayOutcome } from "./relay.ts";
import { createSelfTest } from "./self-test.ts";

/** What a relay over channels of the store is told, whichever store that is. */
export interface ChannelRelayPlace {
  /** What every channel's name begins with, such as `mcp:`. */
  prefix: string;
  instanceId: string;
  key: RelayKey;
  log: Log;
  events: RelayEvents;
}

export interface ChannelRelayOptions extends ChannelRelayPlace {
  kind: "redis" | "upstash";
  channels: Channels;
  helloMs: number;
  /** See `AskOptions`. */
  retryMs: readonly number[];
  countsAll: boolean;
  /** See `SelfTestOptions`. */
  selfTest: { silenceMs: number; echoMs: number };
  /** How long opening waits for the first connection. */
  openMs: number;
}

/** How long an answer is tried to be published; one that is lost goes out again with the message's second try. */
const ANSWER_MS = 5000;
/** How long closing waits for answers under way. */
const CLOSE_MS = 1000;

interface Asked {
  readonly to: string;
  readonly settle: (outcome: RelayOutcome) => void;
}

/**
 * Instances call each other through channels of the store, each listening to one of its own. Resolves once both work;
 * when the store is away it resolves all the same, and goes on trying.
 */
export async function openChannelRelay(options: ChannelRelayOptions): Promise<Relay> {
  const { kind, channels, prefix, instanceId, key, log, events, countsAll, retryMs } = options;
  const inbox = createInbox({ instanceId, key, log, events });
  const lapses = watchLapses(events.onLapse);
  const warn = createRareLog(log);
  const asked = new Map<string, Asked>();
  const answering = new Set<Promise<void>>();
  const channelOf = (id: string): string => `${prefix}relay:${id}`;
  let closing: Promise<void> | undefined;
  let opened: () => void;
  const open = new Promise<void>((resolve) => (opened = resolve));

  const selfTest = createSelfTest({
    ...options.selfTest,
    say: async () => {
      const published = await channels.publish(channelOf(instanceId), "ping", options.selfTest.echoMs);
      if (published === "unreachable") return "mute";
      return published === 0 && countsAll ? "deaf" : "said";
    },
    onDeaf: (since) => {
      lapses.deaf(since);
      listener.restart();
    },
    log,
  });

  const listener = channels.listen(channelOf(instanceId), {
    onUp: () => {
      opened();
      selfTest.heard();
      lapses.hears();
    },
    onDown: () => {
      selfTest.pause();
      lapses.deaf();
    },
    onPublication: (publication) => {
      selfTest.heard();
      if (publication === "ping" || closing !== undefined) return;
      if (!isAsk(publication.seal)) return takeAnswer(publication);
      const work = takeAsk(publication);
      answering.add(work);
      void work.finally(() => answering.delete(work));
    },
  });

  async function takeAsk({ seal, payload }: Sealed): Promise<void> {
    const admission = inbox.admit(seal);
    if (admission.kind !== "admitted") return warn({ why: admission.kind }, "relayed message dropped");
    const reply = await admission.carryOut(payload);
    if (typeof reply === "object") await channels.publish(channelOf(admission.from), reply, ANSWER_MS);
  }

  function takeAnswer(sealed: Sealed): void {
    const said = openAnswer(key, sealed);
    const question = said && asked.get(said.id);
    if (said?.to !== instanceId || said.from !== question?.to) return;
    if (said.joins === true) join.learn(said.from);
    question.settle({ kind: "answered", answer: said.answer });
  }

  const carry: Carry = async (to, message, deadlineMs, mark, isGone) => {
    if (to.address !== kind || closing !== undefined) return { kind: "unreachable" };
    const sealed = sealAsk(key, { from: instanceId, to: to.instanceId, deadlineMs }, message, mark);
    if (sealed.payload.length > MAX_PAYLOAD_BYTES) return { kind: "unreachable" };
    const outcome = new Promise<RelayOutcome>((settle) => {
      asked.set(mark.id, { to: to.instanceId, settle });
    });
    const publish = (leftMs: number) => channels.publish(channelOf(to.instanceId), sealed, leftMs);
    const parts = { deadlineMs, retryMs, countsAll, publish, outcome, isGone };
    return ask(parts).finally(() => asked.delete(mark.id));
  };
  const join = createJoin(carry);

  async function close(): Promise<void> {
    inbox.close();
    lapses.close();
    selfTest.close();
    for (const { settle } of asked.values()) settle({ kind: "unknown" });
    await within(CLOSE_MS, Promise.all(answering), undefined);
    await Promise.all([listener.close(), channels.close()]);
  }

  await within(options.openMs, Promise.all([open, channels.opened]), undefined);
  return {
    kind,
    address: kind,
    helloMs: options.helloMs,
    send: join.send,
    close: () => (closing ??= close()),
  };
}
