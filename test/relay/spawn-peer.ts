import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import type { Peer } from "../../src/relay/relay.ts";
import type { Where } from "./instances.ts";

const PROGRAM = fileURLToPath(new URL("../fixtures/relay-peer.mjs", import.meta.url));

export interface SpawnedPeer extends Peer {
  freeze(): void;
  thaw(): void;
  kill(): Promise<void>;
  /** Closes its relay, and resolves with the exit code once it ends by having nothing left to do. */
  close(): Promise<number | null>;
}

/** An instance in a process of its own. */
export async function spawnPeer(where: Where, instanceId: string): Promise<SpawnedPeer> {
  const child = fork(PROGRAM, {
    execArgv: ["--import", "tsx"],
    env: { ...process.env, RELAY_PEER: JSON.stringify({ where, instanceId }) },
  });
  const exited = once(child, "exit") as Promise<[number | null]>;
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await exited;
  };
  onTestFinished(kill);
  const [{ address }] = (await once(child, "message")) as [{ address: string }];
  return {
    instanceId,
    address,
    freeze: () => void child.kill("SIGSTOP"),
    thaw: () => void child.kill("SIGCONT"),
    kill,
    close: async () => {
      child.send("close");
      return (await exited)[0];
    },
  };
}
