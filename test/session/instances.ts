import { onTestFinished } from "vitest";
import { NO_EVENTS } from "../../src/events.ts";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import type { Relay } from "../../src/relay/relay.ts";
import { Carrier } from "../../src/session/carrier.ts";
import { Claims } from "../../src/session/claims.ts";
import { Elsewhere } from "../../src/session/elsewhere.ts";
import type { Visitor } from "../../src/session/fingerprint.ts";
import { Reception } from "../../src/session/reception.ts";
import type { Session } from "../../src/session/session.ts";
import { Sessions } from "../../src/session/sessions.ts";
import type { SessionsParts } from "../../src/session/sessions-parts.ts";
import { Summons } from "../../src/session/summons.ts";
import { Whereabouts } from "../../src/session/whereabouts.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { MemoryNetwork } from "./memory-relay.ts";
import { DURABLE } from "./open-session.ts";
import { offers, onlyServer, scriptedUpstream, ScriptedStream, settled, silent } from "./scripted.ts";

export const ALICE: Visitor = {
  caller: "alice",
  server: "scripted",
  userAgent: "test",
  address: "127.0.0.1",
  clientId: undefined,
};
export const NAMED: Visitor = { ...ALICE, clientId: "laptop" };
export const BOB: Visitor = { ...ALICE, caller: "bob" };
/** What a request of a client that comes back says. */
export const BACK = { last: undefined, protocolVersion: "2025-06-18" };
export const FIRST = { last: undefined, protocolVersion: undefined };

/** Instances on one store and one clock, composed as the gateway does it. */
export function createCluster() {
  const clock = { now: 0 };
  // It says that it is one that instances share, so they hand over.
  const store: SessionStore = { ...createMemorySessionStore({ now: () => clock.now }), kind: "redis" };
  const network = new MemoryNetwork();

  /** Starts an instance, which others can reach and know to be alive. */
  async function start(instanceId: string, more: Partial<SessionsParts> & { isRelayOn?: boolean } = {}) {
    const { isRelayOn = true, ...parts } = more;
    const upstream = scriptedUpstream();
    upstream.reply = offers({});
    const now = () => clock.now;
    const ttlSeconds = 3600;
    const retryMs = () => 1234;
    const sessions = new Sessions({
      instanceId,
      store,
      servers: onlyServer(upstream),
      maxSessions: 100,
      maxSessionsOf: () => 100,
      mayUse: () => true,
      events: NO_EVENTS,
      limits: { ...DURABLE, firstPostMs: Infinity, idleMs: Infinity },
      ttlSeconds,
      extend: "late",
      durability: "off",
      retryMs,
      log: silent,
      now,
      ...parts,
    });
    const whereabouts = new Whereabouts(store, instanceId);
    const claims = new Claims({ instanceId, store, sessions, whereabouts, ttlSeconds, log: silent });
    const relay: { current: Relay | undefined } = { current: undefined };
    const common = { instanceId, sessions, store, whereabouts, claims, relay, log: silent, now, retryMs };
    const reception = new Reception(common);
    const carrier = new Carrier({ ...common, heartbeatMs: 30_000 });
    const elsewhere = new Elsewhere({ ...common, events: NO_EVENTS, carrier, reception, startMs: 60_000 });
    const summons = new Summons({ ...common, carrier, reception });
    if (isRelayOn) {
      relay.current = network.relayOf(instanceId, (from, message) => summons.receive(from, message));
      sessions.lease.advertise(relay.current.address);
    }
    await sessions.beat();
    onTestFinished(() => sessions.close(retryMs));

    const post = async (session: Session, message: unknown) => {
      const bytes = Buffer.from(JSON.stringify(message));
      await session.deliver(bytes, scanMessage(bytes) as Envelope);
    };
    /** A client that has introduced itself, and that has its answer. */
    const connect = async (visitor: Visitor = ALICE, initialize: unknown = { clientInfo: { name: "c" } }) => {
      const session = sessions.open(visitor);
      const stream = new ScriptedStream();
      session.attach(stream);
      await post(session, { jsonrpc: "2.0", id: "init", method: "initialize", params: initialize });
      stream.take();
      // Long enough for nothing of then to be in doubt, with a beat as often as there would be.
      clock.now += 30_000;
      await sessions.beat();
      await post(session, { jsonrpc: "2.0", method: "notifications/initialized" });
      await settled();
      stream.written.length = 0;
      return { session, stream };
    };
    /** Gives a message to a session that is not here. */
    const deliver = (id: string, message: unknown, caller: string | undefined = "alice") => {
      const bytes = Buffer.from(JSON.stringify(message));
      return elsewhere.deliver(id, caller, bytes, scanMessage(bytes) as Envelope);
    };
    /** Nobody hears of it any more; its lease has run out. */
    const crash = async () => {
      network.kill(instanceId);
      await store.removeLease(instanceId);
    };
    /** It is told to go down, and says so first, as the gateway does. */
    const goDown = async (signal: AbortSignal = AbortSignal.timeout(5000)) => {
      await sessions.lease.drain();
      await sessions.drain(signal);
    };
    const rest = { upstream, sessions, whereabouts, claims, relay, reception, carrier, elsewhere, summons };
    return { ...rest, post, connect, deliver, crash, goDown };
  }
  return { store, clock, network, start };
}

export type Instance = Awaited<ReturnType<ReturnType<typeof createCluster>["start"]>>;
