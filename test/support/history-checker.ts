import type { CallRecord, ClientRecord, History, LedgerLine, Outcome } from "./history.ts";

/** An instance was killed: calls that were in flight then may end with one retryable error. */
export interface Crash {
  at: number;
  /** Clients whose sessions it held. */
  clients: ReadonlySet<string>;
}

/** What must hold besides what always must. */
export interface Promises {
  /** The server process that a client talks to stays the same. */
  sameChild?: boolean;
  /** How many `initialize` the servers have seen of each client, at most. */
  initializes?: number;
  /** An answer may come on the wire again after a cut: SDK clients drop it, for its id is no longer open. */
  mayRepeatAnswers?: boolean;
  /** Notifications are all there. Without it they only must be in order and come once. */
  allNotifications?: boolean;
  crashes?: readonly Crash[];
  /** Calls that may fail for a reason that the story knows; they are still counted. */
  mayFail?: (call: CallRecord, outcome: Outcome) => boolean;
  /** A call may run into its time limit (an instance was killed, and nothing was stored). */
  mayTimeOut?: (call: CallRecord) => boolean;
}

export interface Summary {
  clients: number;
  calls: number;
  results: number;
  errors: number;
  refused: number;
  lost: number;
  executions: number;
  repeatedExecutions: number;
  repeatedAnswers: number;
  notifications: number;
  /** Numbers that are missing between those that came. */
  missingNotifications: number;
  streams: number;
  initializes: number;
  children: number;
}

export interface Judgement {
  violations(): string[];
  summary: Summary;
  /** The summary, as two aligned columns. */
  table(): string;
}

/** Reasons that tell a client that its call was cut off and may be sent again. */
const RETRYABLE = new Set(["upstream_restarted"]);
/** Clocks of two processes, and a write that was under way. */
const LATE_MS = 1000;

/** Judges a history and the servers' ledger by the promises of the house. */
export function judge(history: History, ledger: readonly LedgerLine[], promises: Promises = {}): Judgement {
  const found: string[] = [];
  const calls = [...history.clients.values()].flatMap((client) => client.calls);
  const byNonce = new Map(calls.map((call) => [call.nonce, call]));
  const executions = executionsByNonce(ledger, byNonce, found);
  for (const call of calls) judgeCall(call, byNonce, executions.get(call.nonce) ?? [], promises, found);
  for (const client of history.clients.values()) judgeClient(client, ledger, promises, found);
  for (const line of ledger)
    if (line.kind === "breach") found.push(`${line.client}: process ${line.pid} saw ${line.what}`);
  const summary = summarize(history, calls, ledger, executions);
  return { violations: () => found, summary, table: () => renderSummary(summary, found.length) };
}

function executionsByNonce(
  ledger: readonly LedgerLine[],
  byNonce: ReadonlyMap<string, CallRecord>,
  found: string[],
): Map<string, LedgerLine[]> {
  const executions = new Map<string, LedgerLine[]>();
  for (const line of ledger) {
    if (line.kind !== "call" || line.nonce === undefined) continue;
    const call = byNonce.get(line.nonce);
    if (call === undefined) found.push(`${line.client}: carried out ${line.nonce}, which nobody sent`);
    else if (call.client !== line.client)
      found.push(`${call.client}: ${line.nonce} was carried out in the session of ${line.client}`);
    executions.set(line.nonce, [...(executions.get(line.nonce) ?? []), line]);
  }
  return executions;
}

function judgeCall(
  call: CallRecord,
  byNonce: ReadonlyMap<string, CallRecord>,
  executions: readonly LedgerLine[],
  promises: Promises,
  found: string[],
): void {
  const { client, nonce, tool, outcomes } = call;
  const say = (what: string) => found.push(`${client}: ${tool} ${nonce} ${what}`);
  const [outcome] = outcomes;
  if (executions.length > 1 && tool !== "peek") say(`was carried out ${executions.length} times`);
  if (outcomes.length > 1) say(`had ${outcomes.length} outcomes`);
  if (outcome === undefined) return void say("was lost: it never ended");
  if (outcome.kind === "result") {
    const owner = byNonce.get(outcome.nonce)?.client;
    if (owner !== client) say(`was answered with a nonce of ${owner ?? "nobody"}`);
    else if (outcome.nonce !== nonce) say(`was answered with the nonce ${outcome.nonce}`);
    if (executions.length === 0) say("was answered, but never carried out");
    return;
  }
  const late = executions.find(({ time }) => time > (call.endedAt ?? Infinity) + LATE_MS);
  if (late !== undefined)
    say(`was carried out ${late.time - (call.endedAt ?? 0)} ms after its client had been told`);
  // 503 and 404 say that the server was not given the message.
  if (outcome.kind === "refused" && [404, 429, 503].includes(outcome.status) && executions.length > 0)
    say(`was refused with ${outcome.status} and carried out`);
  if (promises.mayFail?.(call, outcome) === true) return;
  if (outcome.kind === "timeout" && promises.mayTimeOut?.(call) === true) return;
  if (outcome.kind === "timeout") say("was lost: its time ran out");
  else if (!isCrashError(call, outcome, promises.crashes ?? [])) say(`failed: ${JSON.stringify(outcome)}`);
}

/** Whether the call was in flight when its instance was killed, and its error says so. */
function isCrashError(call: CallRecord, outcome: Outcome, crashes: readonly Crash[]): boolean {
  if (outcome.kind !== "error" || !RETRYABLE.has(outcome.reason ?? "")) return false;
  return crashes.some(
    ({ at, clients }) =>
      clients.has(call.client) && call.startedAt <= at + LATE_MS && (call.endedAt ?? Infinity) >= at,
  );
}

function judgeClient(
  client: ClientRecord,
  ledger: readonly LedgerLine[],
  { sameChild, initializes, allNotifications, mayRepeatAnswers }: Promises,
  found: string[],
): void {
  const { name } = client;
  for (const [id, times] of client.wireAnswers)
    if (times > 1 && !mayRepeatAnswers)
      found.push(`${name}: the answer to request ${id} came ${times} times`);
  const ids = new Set(client.asked);
  if (ids.size < client.asked.length) found.push(`${name}: was asked the same thing twice`);
  const last = new Map<number, number>();
  for (const { pid, number } of client.notifications) {
    const before = last.get(pid) ?? 0;
    if (number <= before) found.push(`${name}: notification ${number} of ${pid} came again, after ${before}`);
    else if (number > before + 1 && allNotifications)
      found.push(`${name}: notifications ${before + 1} to ${number - 1} of ${pid} are missing`);
    last.set(pid, Math.max(before, number));
  }
  for (const [pid, sent] of client.lastSent)
    if (allNotifications && (last.get(pid) ?? 0) < sent)
      found.push(`${name}: the last notifications of ${pid} are missing: ${last.get(pid) ?? 0} of ${sent}`);
  const own = ledger.filter((line) => line.client === name);
  const pids = new Set(
    own.filter(({ kind }) => kind === "call" || kind === "initialize").map(({ pid }) => pid),
  );
  if (sameChild && pids.size > 1) found.push(`${name}: talked to ${pids.size} processes`);
  const seen = own.filter(({ kind }) => kind === "initialize").length;
  if (initializes !== undefined && seen > initializes)
    found.push(`${name}: was initialized ${seen} times, not ${initializes}`);
}

function summarize(
  history: History,
  calls: readonly CallRecord[],
  ledger: readonly LedgerLine[],
  executions: ReadonlyMap<string, readonly LedgerLine[]>,
): Summary {
  const clients = [...history.clients.values()];
  const count = (kind: Outcome["kind"]) => calls.filter(({ outcomes }) => outcomes[0]?.kind === kind).length;
  const sum = (of: (client: ClientRecord) => number) => clients.reduce((all, client) => all + of(client), 0);
  const counting = [...executions.values()].filter(([line]) => line?.tool !== "peek");
  return {
    clients: clients.length,
    calls: calls.length,
    results: count("result"),
    errors: count("error"),
    refused: count("refused"),
    lost: count("timeout") + calls.filter(({ outcomes }) => outcomes.length === 0).length,
    executions: ledger.filter(({ kind }) => kind === "call").length,
    repeatedExecutions: counting.filter((lines) => lines.length > 1).length,
    repeatedAnswers: sum(({ wireAnswers }) => [...wireAnswers.values()].filter((times) => times > 1).length),
    notifications: sum(({ notifications }) => notifications.length),
    missingNotifications: sum(missingOf),
    streams: sum(({ streams }) => streams.filter(({ status }) => status === 200).length),
    initializes: ledger.filter(({ kind }) => kind === "initialize").length,
    children: new Set(ledger.map(({ pid }) => pid)).size,
  };
}

function missingOf({ notifications, lastSent }: ClientRecord): number {
  const seen = new Set(notifications.map(({ pid, number }) => `${pid} ${number}`));
  const last = new Map(lastSent);
  for (const { pid, number } of notifications) last.set(pid, Math.max(number, last.get(pid) ?? 0));
  return [...last.values()].reduce((all, number) => all + number, 0) - seen.size;
}

function renderSummary(summary: Summary, violations: number): string {
  const rows = Object.entries({ ...summary, violations });
  return rows.map(([name, value]) => `${name.padEnd(20)}${String(value).padStart(10)}`).join("\n");
}
