// Writes audit records in a process of its own, until it is killed. Started with `--import tsx`; AUDIT_WRITER says where.
import { type AuditOptions, openAudit } from "../../src/audit/audit.ts";
import { createLog } from "../../src/log.ts";

interface Task extends Pick<AuditOptions, "path" | "maxBytes" | "files"> {
  /** Number of the first record. */
  from: number;
  /** Records between two flushes. */
  batch: number;
}

const { from, batch, ...place } = JSON.parse(process.env["AUDIT_WRITER"] ?? "") as Task;
const audit = await openAudit({ ...place, instanceId: "i-child", log: createLog("silent"), retryMs: 5 });
let number = from;

async function writeBatch(): Promise<void> {
  for (let last = number + batch; number < last; number += 1) {
    const caller = `n${number}`;
    audit.events.emit({ type: "session_refused", caller, reason: "too_many_sessions", address: "10.0.0.1" });
  }
  await audit.flush();
  const { lost, isFailing } = audit;
  process.send?.({ until: number, lost, isFailing });
}

process.on("message", (word) => {
  if (word === "more") void writeBatch();
  else void audit.close().then(() => process.disconnect());
});
await writeBatch();
