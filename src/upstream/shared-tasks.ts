import { beginWalk, COMMA, skipSpace, skipValue } from "../protocol/json.ts";
import { type Envelope, errorResponse } from "../protocol/json-rpc.ts";
import { type Span, splice } from "../protocol/splice.ts";
import type { Branch } from "./mux-branch.ts";
import { find, ownIdOf, stringOf } from "./mux-marks.ts";
import type { Trunk } from "./mux-trunk.ts";

/** Tasks of one session that are remembered; of more, the oldest are nobody's. */
const MAX_TASKS = 256;
/** What the server says of tasks before it has told whose they are: so many notifications, the oldest forgotten first. */
const MAX_EARLY = 100;
const MAX_EARLY_BYTES = 64 * 1024;
const RELATED_TASK = "io.modelcontextprotocol/related-task";
const ARRAY_END = 0x5d;

/** Whose the tasks of a shared server are. One session's task is unknown to all others. */
export class Tasks {
  readonly #trunk: Trunk;
  readonly #owners = new Map<string, Branch>();
  readonly #byBranch = new Map<Branch, Set<string>>();
  #early: { taskId: string; message: Buffer }[] = [];

  constructor(trunk: Trunk) {
    this.#trunk = trunk;
  }

  /** A client's `tasks/…`. */
  take(branch: Branch, message: Buffer, envelope: Envelope): Promise<void> | undefined {
    if (envelope.method === "tasks/list") {
      return this.#trunk.forward(branch, message, envelope, (answer) => this.#onlyThoseOf(branch, answer));
    }
    const taskId = stringOf(message, "params", "taskId");
    if (taskId !== undefined && this.#owners.get(taskId) !== branch) {
      branch.deliverSoon(errorResponse(ownIdOf(message), -32602, "Unknown task", "upstream_cannot"));
      return undefined;
    }
    return this.#trunk.forward(branch, message, envelope);
  }

  /** A client's request that the server may carry out as a task. Undefined when it does not ask for that. */
  create(
    branch: Branch,
    message: Buffer,
    envelope: Envelope,
  ): { sent: Promise<void> | undefined } | undefined {
    if (envelope.kind !== "request" || find(message, "params", "task") === undefined) return undefined;
    const sent = this.#trunk.forward(branch, message, envelope, (answer, _failed, request) => {
      const taskId = stringOf(answer, "result", "task", "taskId");
      if (taskId !== undefined) {
        this.#own(branch, taskId);
        this.#trunk.keepToken(request);
      }
      return answer;
    });
    return { sent };
  }

  /** The task that a message of the server names, and whose it is if that is known. Undefined when it names none. */
  namedIn(
    message: Buffer,
    { method = "" }: Envelope,
  ): { taskId: string; owner: Branch | undefined } | undefined {
    const taskId =
      stringOf(message, "params", "_meta", RELATED_TASK, "taskId") ??
      (method === "notifications/tasks/status" ? stringOf(message, "params", "taskId") : undefined);
    return taskId === undefined ? undefined : { taskId, owner: this.#owners.get(taskId) };
  }

  /** Keeps a notification of a task until it is known whose it is. */
  hold(taskId: string, message: Buffer): void {
    if (message.length > MAX_EARLY_BYTES) return;
    this.#early.push({ taskId, message });
    if (this.#early.length > MAX_EARLY) this.#early.shift();
  }

  /** Cancels the tasks of one who has gone: nobody can fetch what comes of them. */
  left(branch: Branch): void {
    for (const taskId of this.#byBranch.get(branch) ?? []) {
      this.#owners.delete(taskId);
      const message = { jsonrpc: "2.0", id: 0, method: "tasks/cancel", params: { taskId } };
      this.#trunk.ask(Buffer.from(JSON.stringify(message)), undefined)?.catch(() => undefined);
    }
    this.#byBranch.delete(branch);
  }

  #own(branch: Branch, taskId: string): void {
    // Its first owner keeps it: a server that gives an id twice must not show one session the other's.
    if (!branch.isOpen || this.#owners.has(taskId)) return;
    const mine = this.#byBranch.get(branch) ?? new Set();
    this.#byBranch.set(branch, mine.add(taskId));
    this.#owners.set(taskId, branch);
    for (const early of this.#early) if (early.taskId === taskId) branch.deliver(early.message);
    this.#early = this.#early.filter((early) => early.taskId !== taskId);
    if (mine.size <= MAX_TASKS) return;
    const oldest = mine.values().next().value as string;
    mine.delete(oldest);
    this.#owners.delete(oldest);
  }

  #onlyThoseOf(branch: Branch, answer: Buffer): Buffer {
    const tasks = find(answer, "result", "tasks");
    if (tasks === undefined) return answer;
    const kept = elementsOf(answer, tasks).filter((task) => {
      const taskId = stringOf(task, "taskId");
      return taskId !== undefined && this.#owners.get(taskId) === branch;
    });
    return splice(answer, [{ ...tasks, text: Buffer.from(`[${kept.map(String).join(",")}]`) }]);
  }
}

function elementsOf(message: Buffer, array: Span): Buffer[] {
  const elements: Buffer[] = [];
  beginWalk();
  let at = skipSpace(message, array.start + 1);
  while (at < array.end - 1 && message[at] !== ARRAY_END) {
    const end = skipValue(message, at, 3);
    if (end < 0) break;
    elements.push(message.subarray(at, end));
    at = skipSpace(message, end);
    if (message[at] === COMMA) at = skipSpace(message, at + 1);
  }
  return elements;
}
