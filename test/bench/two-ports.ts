import { randomBytes } from "node:crypto";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { Caller } from "./load/caller.ts";
import { type ClientSession, openSession } from "./load/client-session.ts";
import { findEcho, shakeHands } from "./load/handshake.ts";
import { PostConnection } from "./load/post-connection.ts";
import { Tally } from "./load/tally.ts";
import type { Told, TwoPortsOrder, TwoPortsPlan, Where } from "./run-two-ports.ts";

// A generator in a process of its own, whose streams are open at one instance and whose POSTs go there or to another.

const CALL_TIMEOUT_MS = 10_000;
const OPEN_AT_ONCE = 4;
const REST_MS = 300;

const runNonce = randomBytes(4).toString("hex");
const tally = new Tally();
const sessions: ClientSession[] = [];
/** To the other instance; a session closes those to its own. */
const connections: PostConnection[] = [];
/** By where their POSTs go; those of a session stand together. */
const callers: Record<Where, Caller[]> = { owner: [], other: [] };
let calling: readonly Caller[] = [];

async function openOne({ plan, otherPort }: TwoPortsPlan, index: number): Promise<void> {
  if (plan.transport !== "sse")
    throw new Error("two ports are for HTTP+SSE, whose answers come on the stream");
  const session = await openSession(plan, index, {
    onStray: () => (tally.stray += 1),
    onLost: () => (tally.lostSessions += 1),
  });
  sessions.push(session);
  const connection = session.connect();
  await shakeHands(session, connection);
  if (plan.inFlight === 0) return;
  const tool = await findEcho(session, connection);
  const nonce = `${runNonce}-${String(index).padStart(5, "0")}-`;
  for (let slot = 0; slot < plan.inFlight; slot += 1) {
    const elsewhere = new PostConnection(otherPort, plan.headers);
    connections.push(elsewhere);
    for (const [where, own] of [
      ["owner", session.connect()],
      ["other", elsewhere],
    ] as const)
      callers[where].push(new Caller(session, own, tally, { tool, nonce, bytes: plan.bytes }));
  }
}

async function openSessions(plan: TwoPortsPlan, count: number): Promise<void> {
  let next = 0;
  async function openInTurn(): Promise<void> {
    while (next < count) {
      next += 1;
      await openOne(plan, next - 1);
    }
  }
  await Promise.all(Array.from({ length: OPEN_AT_ONCE }, openInTurn));
}

async function obey(order: TwoPortsOrder): Promise<Told> {
  switch (order.do) {
    case "open":
      await openSessions(order.plan, order.sessions);
      return { done: "open" };
    case "warm-up":
      // The last calls of others end before these begin.
      await sleep(REST_MS);
      calling = order.alone ? callers[order.where].slice(0, 1) : callers[order.where];
      tally.reset();
      for (const caller of calling) caller.start();
      await sleep(order.seconds * 1000);
      return { done: "warm-up" };
    case "count": {
      tally.reset();
      await sleep(order.seconds * 1000);
      const counted = tally.read();
      for (const caller of calling) caller.stop();
      return { done: "count", counted };
    }
    case "close":
      for (const connection of connections) connection.close();
      for (const session of sessions) session.close();
      return { done: "close" };
  }
}

setInterval(() => {
  const before = performance.now() - CALL_TIMEOUT_MS;
  for (const caller of [...callers.owner, ...callers.other]) caller.expire(before);
}, 1000);

process.on("message", (order: TwoPortsOrder) => {
  const tell = (told: Told): void => void process.send?.(told);
  obey(order).then(tell, (error: unknown) => tell({ failed: String(error) }));
});
// Never outlives the bench.
process.on("disconnect", () => process.exit(0));
