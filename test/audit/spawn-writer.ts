import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

const PROGRAM = fileURLToPath(new URL("./writer-child.ts", import.meta.url));

export interface Told {
  /** The number of the record behind the last one that was written or waits. */
  until: number;
  lost: number;
  isFailing: boolean;
}

/** A process that writes numbered records, a batch for each `more`. */
export async function spawnWriter(task: {
  path: string;
  maxBytes: number;
  files: number;
  from: number;
  batch: number;
}) {
  const child = fork(PROGRAM, {
    execArgv: ["--import", "tsx"],
    env: { ...process.env, AUDIT_WRITER: JSON.stringify(task) },
  });
  const exited = once(child, "exit");
  const told = async () => ((await once(child, "message")) as [Told])[0];
  async function kill(): Promise<void> {
    child.kill("SIGKILL");
    await exited;
  }
  onTestFinished(kill);
  const first = await told();
  return {
    pid: child.pid as number,
    first,
    /** Does not wait for the batch. */
    begin: () => void child.send("more"),
    more: () => {
      child.send("more");
      return told();
    },
    kill,
    close: async () => {
      child.send("close");
      await exited;
    },
  };
}
