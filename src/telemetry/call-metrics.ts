import type { CallBegin, CallEnd, CallInFlight, Calls } from "../events.ts";
import { errorCodeIn, isToolError, nameIn, namesIn } from "./call-facts.ts";
import { labelText, OPERATION_BUCKETS, Series } from "./durations.ts";
import { isName, METHODS, OTHER, Words } from "./names.ts";

/**
 * Durations of requests, as the OpenTelemetry conventions name them. The conventions' `mcp.client.operation.duration`,
 * of what the gateway asks its servers, would be the same number under a second name: a call is watched from when its
 * server is about to be given it.
 */
const NAME = "mcp_server_operation_duration_seconds";
const HELP = "Duration of a client's request, from when its server was about to be given it to its outcome.";

/** Kinds of failure that one server's series tell apart: codes of errors are the server's own choice. */
const MAX_ERROR_TYPES = 32;
/** Series of one server, all together. */
const MAX_SERIES = 2000;
/** How much of the answers to `tools/list` and `prompts/list` is read in a second: they seldom say anything new. */
const MAX_READ_BYTES = 512 * 1024;

type List = "tools" | "prompts";

/** The list whose names the calls of a method may have. */
const NAMED: ReadonlyMap<string, List> = new Map([
  ["tools/call", "tools"],
  ["prompts/get", "prompts"],
]);
const LISTS: ReadonlyMap<string, List> = new Map([
  ["tools/list", "tools"],
  ["prompts/list", "prompts"],
]);

export interface CallMetrics extends Calls {
  /** Names that a server's calls may be told by, beside those that are seen in its lists. */
  knownTools(server: string, names: Iterable<string>): void;
  /** In Prometheus' text format. */
  text(): string;
}

/**
 * Observes how long calls take, by server, method, tool and kind of failure. Bounded whatever clients send: a tool has
 * series of its own only when it stands in a list of its server, and `maxNames` of a server's tools do, and as many
 * prompts. Series are arrays of counts, because a labelled `observe` of a library costs more than all the rest.
 */
export function createCallMetrics(maxNames: number): CallMetrics {
  /** By name, which comes from the configuration. */
  const servers = new Map<string, ServerCalls>();
  const allowance = { since: -Infinity, bytes: 0 };

  function callsOf(name: string): ServerCalls {
    let calls = servers.get(name);
    if (calls === undefined) servers.set(name, (calls = new ServerCalls(name, maxNames, mayRead)));
    return calls;
  }

  function mayRead(bytes: number, now: number): boolean {
    if (now - allowance.since >= 1000) Object.assign(allowance, { since: now, bytes: 0 });
    if (allowance.bytes + bytes > MAX_READ_BYTES) return false;
    allowance.bytes += bytes;
    return true;
  }

  return {
    begin: (call) => new WatchedCall(call.message, callsOf(call.server), call),
    knownTools: (server, names) => callsOf(server).learn("tools", names),
    text() {
      const lines = [...servers.values()].map((server) => server.text()).join("");
      return `# HELP ${NAME} ${HELP}\n# TYPE ${NAME} histogram\n${lines}`;
    },
  };
}

class WatchedCall implements CallInFlight {
  readonly message: Buffer;
  readonly #server: ServerCalls;
  readonly #target: Target;
  readonly #startedAt: number;

  constructor(message: Buffer, server: ServerCalls, { method }: CallBegin) {
    this.message = message;
    this.#server = server;
    this.#target = server.targetOf(method, message);
    this.#startedAt = performance.now();
  }

  end({ answer, failed, reason }: CallEnd): void {
    const now = performance.now();
    const target = this.#target;
    let error = reason;
    if (error === undefined && failed) error = answer === undefined ? OTHER : errorCodeIn(answer);
    if (error === undefined && answer !== undefined) {
      if (target.isTool && isToolError(answer)) error = "tool_error";
      const list = LISTS.get(target.method);
      if (list !== undefined) this.#server.read(list, answer, now);
    }
    this.#server.seriesOf(target, error).observe((now - this.#startedAt) / 1000);
  }
}

/** What calls are told by: a method, and the tool or prompt that it names. */
interface Target {
  readonly method: string;
  readonly name?: string | undefined;
  readonly isTool: boolean;
  /** Of calls that did not fail. */
  plain?: Series;
  /** By kind of failure. */
  failed?: Map<string, Series>;
}

const targetOf = (method: string, name?: string): Target => ({
  method,
  name,
  isTool: method === "tools/call",
});

/** The series of one server. */
class ServerCalls {
  readonly #server: string;
  readonly #mayRead: (bytes: number, now: number) => boolean;
  readonly #methods: Map<string, Target>;
  /** By name, for those that are known. Without a target until it is called. */
  readonly #named: Record<List, Map<string, Target | undefined>>;
  readonly #maxNames: number;
  readonly #errors = new Words(MAX_ERROR_TYPES);
  readonly #series: Series[] = [];
  readonly #other = targetOf(OTHER);

  constructor(server: string, maxNames: number, mayRead: (bytes: number, now: number) => boolean) {
    this.#server = server;
    this.#maxNames = maxNames;
    this.#mayRead = mayRead;
    this.#methods = new Map(
      METHODS.map((method) => [method, targetOf(method, NAMED.has(method) ? OTHER : undefined)]),
    );
    this.#named = { tools: new Map(), prompts: new Map() };
  }

  targetOf(method: string, message: Buffer): Target {
    const list = NAMED.get(method);
    if (list === undefined) return this.#methods.get(method) ?? this.#other;
    const names = this.#named[list];
    const name = names.size === 0 ? undefined : nameIn(message);
    if (name === undefined || !names.has(name)) return this.#methods.get(method) as Target;
    let target = names.get(name);
    if (target === undefined) names.set(name, (target = targetOf(method, name)));
    return target;
  }

  seriesOf(target: Target, error: string | undefined): Series {
    if (error === undefined) return (target.plain ??= this.#create(target, undefined));
    const word = this.#errors.admit(error);
    const failed = (target.failed ??= new Map<string, Series>());
    let series = failed.get(word);
    if (series === undefined) failed.set(word, (series = this.#create(target, word)));
    return series;
  }

  learn(list: List, names: Iterable<string>): void {
    const known = this.#named[list];
    for (const name of names) {
      if (known.size >= this.#maxNames) return;
      if (isName(name) && !known.has(name)) known.set(name, undefined);
    }
  }

  read(list: List, answer: Buffer, now: number): void {
    if (this.#named[list].size < this.#maxNames && this.#mayRead(answer.length, now))
      this.learn(list, namesIn(answer, list));
  }

  text(): string {
    return this.#series.map((series) => series.text(NAME)).join("");
  }

  #create(target: Target, error: string | undefined): Series {
    // One that is too many is counted with the others, of which there are two.
    const isLast = target === this.#other && (error === undefined || error === OTHER);
    if (this.#series.length >= MAX_SERIES && !isLast) return this.seriesOf(this.#other, error && OTHER);
    const { method, name, isTool } = target;
    const labels = labelText({
      mcp_method_name: method,
      [isTool ? "gen_ai_tool_name" : "gen_ai_prompt_name"]: name,
      error_type: error,
      upstream: this.#server,
    });
    const series = new Series(labels, OPERATION_BUCKETS);
    this.#series.push(series);
    return series;
  }
}
