import type { Writable } from "node:stream";
import { ConfigError } from "../errors.ts";
import type { Events, GatewayEvent } from "../events.ts";
import type { Log } from "../log.ts";
import { createFileOut } from "./file-out.ts";
import { createStreamOut } from "./out.ts";
import { Queue, type QueueBounds } from "./queue.ts";
import { recordOf } from "./record.ts";
import { Writer } from "./writer.ts";

export interface AuditOptions {
  /** A file, in which `{instance}` stands for the instance's id, or `stdout`. */
  path: string;
  /** Size at which the file is set aside. */
  maxBytes: number;
  /** Files that are kept beside the present one. 0: all. */
  files: number;
  instanceId: string;
  log: Log;
  now?: () => Date;
  /** What `stdout` is. */
  out?: Writable;
  /** What may wait to be written while that is not possible. */
  bounds?: QueueBounds;
  /** How long another process may still hold the file. */
  lockWaitMs?: number;
  /** How long to wait after a failure. */
  retryMs?: number;
}

/** A chain of records on disk or on standard output. */
export interface Audit {
  /** Takes what happens. Never throws and never waits. */
  events: Events;
  /** Records that the kernel, or the reader of standard output, has taken since the opening. */
  readonly written: number;
  /** Records that were let go since the opening. */
  readonly lost: number;
  /** Whether the last attempt to write failed. */
  readonly isFailing: boolean;
  /** Resolves when all that was recorded is written, or an attempt to do so has failed. */
  flush(): Promise<void>;
  /** Looks for the file by its name again, after somebody has set it aside. Records that come go to the new one. */
  reopen(): Promise<void>;
  /** Writes what waits, if that is possible, and a last line. Safe to call twice. */
  close(): Promise<void>;
}

const BOUNDS: QueueBounds = { records: 10_000, bytes: 8 * 1024 * 1024 };
const LOCK_WAIT_MS = 12_000;
const RETRY_MS = 1000;
/** What waiting does not mend: somebody has to change the setting or the file's place. */
const FOR_GOOD = new Map([
  ["EACCES", "may not be written"],
  ["EPERM", "may not be written"],
  ["EROFS", "lies on a file system that is read-only"],
  ["ENOTPLAIN", "names something that is not a plain file"],
  ["ENOTDIR", "lies in something that is no directory"],
  ["EEXIST", "lies in something that is no directory"],
  ["ENAMETOOLONG", "is too long a name"],
  ["EFOREIGN", "names a file that is not an audit log. It is left as it is"],
  ["ELOCKED", "is written by another process. Give each instance its own, as with audit-{instance}.log"],
]);

/**
 * Opens the audit log and goes on with its chain. Rejects with a ConfigError when the file can never be written: no
 * right to, not an audit log, or another process holds it. A full disk does not keep it from opening.
 */
export async function openAudit(options: AuditOptions): Promise<Audit> {
  const { instanceId, log, now = () => new Date(), out: stream = process.stdout } = options;
  const path = options.path.replaceAll("{instance}", instanceId);
  const out = path === "stdout" ? createStreamOut(stream) : createFileOut({ ...options, path });
  const queue = new Queue(options.bounds ?? BOUNDS);
  const writer = new Writer({
    out,
    queue,
    instanceId,
    now,
    onRotated: (place) => log.info(place, "audit file set aside: its last line"),
  });
  let lost = 0;
  let isFailing = false;
  let writing: Promise<void> | undefined;
  let soon: NodeJS.Immediate | undefined;
  let retry: NodeJS.Timeout | undefined;
  let closed: Promise<void> | undefined;

  async function attempt(): Promise<void> {
    clearTimeout(retry);
    retry = undefined;
    try {
      await writer.write(0);
      if (isFailing) log.info({ lost }, "audit records are written again");
      isFailing = false;
    } catch (error) {
      noteFailure(error);
      if (closed === undefined) retry = setTimeout(start, options.retryMs ?? RETRY_MS).unref();
    }
  }
  function noteFailure(error: unknown): void {
    const { code = "unknown" } = error as NodeJS.ErrnoException;
    if (!isFailing) log.error({ code }, "audit records cannot be written: they wait, and then they are lost");
    isFailing = true;
  }
  function start(): void {
    soon = undefined;
    writing ??= attempt().finally(() => {
      writing = undefined;
      if (queue.length > 0 && retry === undefined && closed === undefined) soon ??= setImmediate(start);
    });
  }
  async function flush(): Promise<void> {
    await writing;
    if (closed !== undefined) return closed;
    start();
    await writing;
  }
  function record(members: string, at: Date): void {
    if (!queue.add(members, at)) lost += 1;
    if (writing === undefined && retry === undefined) soon ??= setImmediate(start);
  }
  function emit(event: GatewayEvent): void {
    if (closed !== undefined) return;
    try {
      const at = now();
      const members = recordOf(event, at, instanceId);
      if (members !== undefined) record(members, at);
    } catch {
      // An event that cannot be read is one that is not recorded; what it tells of goes on.
      lost += 1;
    }
  }
  async function close(): Promise<void> {
    clearImmediate(soon);
    await writing;
    writer.finish();
    start();
    await writing;
    lost += queue.records;
    await out.close();
    if (isFailing) log.error({ lost }, "audit log closed, and records are lost");
    else log.info(writer.place, "audit log closed: its last line");
  }

  try {
    await writer.write(options.lockWaitMs ?? LOCK_WAIT_MS);
  } catch (error) {
    const why = FOR_GOOD.get((error as NodeJS.ErrnoException).code ?? "");
    if (why !== undefined) {
      await out.close();
      throw new ConfigError([`AUDIT_LOG ${why}.`], { cause: error });
    }
    noteFailure(error);
    retry = setTimeout(start, options.retryMs ?? RETRY_MS).unref();
  }
  return {
    events: { emit },
    get written() {
      return writer.written;
    },
    get lost() {
      return lost;
    },
    get isFailing() {
      return isFailing;
    },
    flush,
    reopen: flush,
    close: () => (closed ??= close()),
  };
}
