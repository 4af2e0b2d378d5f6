import type { ChildProcess } from "node:child_process";
import { once } from "node:events";

/**
 * Gives a generator's process one order and resolves with its reply. Rejects when it says that it failed, when it exits, and
 * when there is no reply in time.
 */
export async function askProcess<Reply extends object>(
  child: ChildProcess,
  order: { do: string },
  withinMs: number,
): Promise<Reply> {
  const given = new AbortController();
  const late = AbortSignal.timeout(withinMs);
  const signal = AbortSignal.any([given.signal, late]);
  const replied = once(child, "message", { signal });
  const exited = once(child, "exit", { signal });
  try {
    child.send(order);
    const [reply] = (await Promise.race([replied, exited])) as [Reply | { failed: string } | number | null];
    if (typeof reply !== "object" || reply === null) throw new Error("the generator exited");
    if ("failed" in reply) throw new Error(`the generator failed: ${reply.failed}`);
    return reply;
  } catch (error) {
    throw late.aborted ? new Error(`the generator did not ${order.do} within ${withinMs / 1000} s`) : error;
  } finally {
    given.abort();
    replied.catch(() => undefined);
    exited.catch(() => undefined);
  }
}
