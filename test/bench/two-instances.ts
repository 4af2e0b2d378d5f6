import { randomBytes } from "node:crypto";
import { eventually } from "../support/eventually.ts";
import { type Server, startTarget } from "./start-target.ts";
import type { Target } from "./target.ts";

const READY_WITHIN_MS = 20_000;

/** Two instances of a gateway that share a store and carry messages for each other. */
export interface TwoInstances {
  /** Holds the streams. */
  owner: Server;
  other: Server;
  /** CPU of both trees so far. */
  cpuSeconds(): number;
  /** Ends both and names what they left behind. Safe to call twice. */
  close(): Promise<string[]>;
}

/** `env` names the store and the relay's driver. HOST of the gateway targets is local, which is an address for `http`. */
export async function startTwoInstances(target: Target, env: Record<string, string>): Promise<TwoInstances> {
  const relayed = {
    ...target,
    env: {
      ...target.env,
      SESSION_RELAY: "on",
      SESSION_RELAY_SECRET: randomBytes(32).toString("hex"),
      DRAIN_SECONDS: "1",
      ...env,
    },
  };
  const owner = await startTarget(relayed);
  let other: Server | undefined;
  try {
    const second = (other = await startTarget(relayed));
    await Promise.all([owner, second].map(waitUntilReady));
    return {
      owner,
      other: second,
      cpuSeconds: () => owner.account.cpuSeconds() + second.account.cpuSeconds(),
      close: async () => (await Promise.all([owner.close(), second.close()])).flat(),
    };
  } catch (error) {
    await Promise.all([owner.close(), other?.close()]);
    throw error;
  }
}

/** Listening is not enough: the store and the relay must be there. */
async function waitUntilReady({ port }: Server): Promise<void> {
  await eventually(async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/health/ready`, {
      signal: AbortSignal.timeout(2000),
    });
    await answer.body?.cancel();
    return answer.status === 200;
  }, READY_WITHIN_MS);
}
