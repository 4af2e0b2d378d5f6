import { randomBytes } from "node:crypto";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { percentile } from "./figures.ts";
import { Caller } from "./load/caller.ts";
import { type ClientSession, openSession } from "./load/client-session.ts";
import { findEcho, shakeHands } from "./load/handshake.ts";
import type { LoadPlan, Opened, Order, Reply } from "./load/orders.ts";
import type { PostConnection } from "./load/post-connection.ts";
import { Tally } from "./load/tally.ts";

// The load generator: a process of its own, so that it can have a core of its own and knows its own CPU share.
// It is written on node:net because on node:http it costs three times as much and is the limit itself.

const OPEN_AT_ONCE = 4;
const CALL_TIMEOUT_MS = 10_000;

const runNonce = randomBytes(4).toString("hex");
const tally = new Tally();
const sessions: ClientSession[] = [];
const callers: Caller[] = [];
let nextIndex = 0;

async function openOne(plan: LoadPlan): Promise<{ endpointMs: number; openMs: number }> {
  const index = nextIndex;
  nextIndex += 1;
  const startedAt = performance.now();
  const session = await openSession(plan, index, {
    onStray: () => (tally.stray += 1),
    onLost: () => (tally.lostSessions += 1),
  });
  sessions.push(session);
  const connection = session.connect();
  await shakeHands(session, connection);
  const openMs = performance.now() - startedAt;
  if (plan.inFlight > 0) await addCallers(plan, session, connection, index);
  else {
    await session.listen();
    // A client keeps its POST connection for seconds only, each server for another time: it is no part of the session.
    connection.close();
  }
  return { endpointMs: session.endpointMs, openMs };
}

async function addCallers(
  { inFlight, bytes }: LoadPlan,
  session: ClientSession,
  first: PostConnection,
  index: number,
): Promise<void> {
  const tool = await findEcho(session, first);
  const nonce = `${runNonce}-${String(index).padStart(5, "0")}-`;
  for (let slot = 0; slot < inFlight; slot += 1) {
    const connection = slot === 0 ? first : session.connect();
    callers.push(new Caller(session, connection, tally, { tool, nonce, bytes }));
  }
}

async function openSessions(plan: LoadPlan, count: number): Promise<Opened> {
  const endpointMs: number[] = [];
  const openMs: number[] = [];
  const failures: string[] = [];
  let left = count;
  async function openInTurn(): Promise<void> {
    while (left > 0) {
      left -= 1;
      try {
        const opened = await openOne(plan);
        endpointMs.push(opened.endpointMs);
        openMs.push(opened.openMs);
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error));
      }
    }
  }
  await Promise.all(Array.from({ length: OPEN_AT_ONCE }, openInTurn));
  return {
    sessions: openMs.length,
    failed: failures.length,
    ...(failures[0] === undefined ? {} : { firstFailure: failures[0] }),
    endpointP50Ms: percentile(endpointMs, 0.5),
    endpointP99Ms: percentile(endpointMs, 0.99),
    p50Ms: percentile(openMs, 0.5),
    p99Ms: percentile(openMs, 0.99),
  };
}

/** Warm-up ends when both the time and the number of calls are reached, or after ten times the time, 1 s at least. */
async function warmUp(seconds: number, calls: number): Promise<void> {
  tally.reset();
  for (const caller of callers) caller.start();
  await sleep(seconds * 1000);
  for (let extra = 0; extra < Math.max(1, seconds) * 9 && tally.right < calls; extra += 1) await sleep(1000);
}

async function obey(order: Order): Promise<Reply> {
  switch (order.do) {
    case "open":
      return { done: "open", opened: await openSessions(order.plan, order.sessions) };
    case "warm-up":
      await warmUp(order.seconds, order.calls);
      return { done: "warm-up" };
    case "count": {
      // Without a warm-up nobody calls yet.
      for (const caller of callers) caller.start();
      tally.reset();
      await sleep(order.seconds * 1000);
      const counted = tally.read();
      for (const caller of callers) caller.stop();
      return { done: "count", counted };
    }
    case "stop":
      for (const session of sessions) session.close();
      return { done: "stop" };
  }
}

function reply(reply: Reply): void {
  process.send?.(reply, undefined, undefined, () => {
    if ("done" in reply && reply.done === "stop") process.exit(0);
  });
}

setInterval(() => {
  const before = performance.now() - CALL_TIMEOUT_MS;
  for (const caller of callers) caller.expire(before);
}, 1000);

process.on("message", (order: Order) => {
  obey(order).then(reply, (error: unknown) => reply({ failed: String(error) }));
});
// Never outlives the bench.
process.on("disconnect", () => process.exit(0));
