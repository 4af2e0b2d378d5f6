import { createHash } from "node:crypto";

import type { Command, Reply, RespConnection } from "./upstash-resp.ts";

/** What Upstash counts on the bill. */
export interface Bill {
  total(): number;
  byCommand(): Record<string, number>;
  reset(): void;
}

export interface BatchOptions {
  /** Carried out as one transaction. */
  atomic: boolean;
  /** Sent with a read-only token. */
  readOnly: boolean;
  /** Reads find nothing, as in a read region that lags behind. */
  stale?: boolean;
}

export interface Commands {
  readonly bill: Bill;
  /** From this many billed commands on, each is answered with the quota error; undefined for no end. */
  limit(commands: number | undefined): void;
  /** A reply for each command, or one error when a transaction is discarded as a whole. */
  run(redis: RespConnection, batch: readonly Command[], options: BatchOptions): Promise<Reply[] | Reply>;
  /** Bills a command that runs elsewhere, or gives the reply that refuses it for the quota's sake. */
  charge(command: Command): Reply | undefined;
}

/** What goes to Redis in place of a command, how its answer is read, and what it adds to the bill. */
interface Plan {
  send: Command;
  isScript: boolean;
}

const FREE = new Set(["AUTH", "INFO", "PING", "QUIT", "COMMAND"]);

// The documentation names these; the wording of the answer is not documented.
const REFUSED = new Set(
  `BLPOP BRPOP BRPOPLPUSH BLMOVE BLMPOP BZPOPMIN BZPOPMAX BZMPOP WATCH UNWATCH DISCARD MULTI EXEC SUBSCRIBE PSUBSCRIBE
  UNSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SPUBLISH MONITOR AUTH HELLO SELECT QUIT RESET CLIENT WAIT SHUTDOWN CONFIG DEBUG
  REPLICAOF SYNC PSYNC MIGRATE`.split(/\s+/),
);

const READS = new Set(
  `GET MGET STRLEN GETRANGE SUBSTR EXISTS TTL PTTL EXPIRETIME PEXPIRETIME TYPE DBSIZE RANDOMKEY GETBIT BITCOUNT BITPOS
  HGET HMGET HGETALL HLEN HKEYS HVALS HEXISTS HSTRLEN HRANDFIELD LRANGE LLEN LINDEX LPOS SMEMBERS SISMEMBER SMISMEMBER
  SCARD SRANDMEMBER SINTER SUNION SDIFF ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZSCORE ZMSCORE ZCARD
  ZCOUNT ZRANK ZREVRANK XRANGE XREVRANGE XLEN XREAD XINFO XPENDING PFCOUNT GEOPOS GEODIST GEOHASH GEOSEARCH EVAL_RO
  EVALSHA_RO PING ECHO TIME INFO`.split(/\s+/),
);

const SET_IF_EQUAL = `if redis.call("GET", KEYS[1]) ~= ARGV[1] then return false end
return redis.call("SET", KEYS[1], unpack(ARGV, 2))`;
const DELETE_IF_EQUAL = `if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])`;

const error = (text: string): Reply => ({ kind: "error", text });

const words = (command: Command): string[] => command.map((argument) => argument.toString().toUpperCase());

function refusal(command: Command, readOnly: boolean): Reply | undefined {
  const [name = "", ...rest] = words(command);
  const blocks = (name === "XREAD" || name === "XREADGROUP") && rest.includes("BLOCK");
  if (REFUSED.has(name) || blocks) {
    const see = "See https://upstash.com/docs/redis/overall/rediscompatibility for details";
    return error(`ERR Command is not available: '${name}'. ${see}`);
  }
  if (readOnly && !READS.has(name)) {
    return error(`NOPERM this user has no permissions to run the '${name.toLowerCase()}' command`);
  }
  return undefined;
}

/** The script with its inner calls noted down: the bill counts each. Answers the names of the calls and the result. */
const countCalls = (script: string): string => `local names = {}
local function noted(call) return function(name, ...) names[#names + 1] = string.upper(name) return call(name, ...) end end
local real = redis
local redis = setmetatable({ call = noted(real.call), pcall = noted(real.pcall) }, { __index = real })
local function body() ${script}
end
return { names, body() }`;

/** Redis 8.4's conditional SET and DELEX, which Upstash has and an older Redis has not, as one script each: one step, billed 1. */
function conditional(command: Command): Command | undefined {
  const [name, , , third] = words(command);
  const [, key = "", value = "", , , ...more] = command;
  if (name === "DELEX" && words(command)[2] === "IFEQ" && command.length === 4) {
    return ["EVAL", DELETE_IF_EQUAL, "1", key, command[3] ?? ""];
  }
  if (name === "SET" && third === "IFEQ")
    return ["EVAL", SET_IF_EQUAL, "1", key, command[4] ?? "", value, ...more];
  return undefined;
}

/** @returns what runs commands as Upstash does, on whatever connection it is given, and keeps the bill. */
export function createCommands(): Commands {
  const scripts = new Map<string, string>();
  const billed = new Map<string, number>();
  const total = (): number => [...billed.values()].reduce((sum, count) => sum + count, 0);
  let limit: number | undefined;

  const count = (name: string): void => void billed.set(name, (billed.get(name) ?? 0) + 1);

  function charge(command: Command): Reply | undefined {
    const [name = ""] = words(command);
    if (FREE.has(name)) return undefined;
    if (limit !== undefined && total() >= limit) {
      const see =
        "See https://upstash.com/docs/redis/troubleshooting/max_requests_limit_exceeded for details";
      return error(`ERR max requests limit exceeded. Limit: ${limit}, Usage: ${total()}. ${see}`);
    }
    count(name);
    return undefined;
  }

  const admit = (command: Command, readOnly: boolean): Reply | undefined =>
    refusal(command, readOnly) ?? charge(command);

  function plan(command: Command): Plan {
    const [name = "", subcommand] = words(command);
    const text = command[1]?.toString() ?? "";
    if (name === "SCRIPT" && subcommand === "LOAD") remember(command[2]?.toString() ?? "");
    if (name === "EVAL" || name === "EVAL_RO") remember(text);
    const script = name.startsWith("EVALSHA") ? scripts.get(text.toLowerCase()) : text;
    if (name.startsWith("EVAL") && script !== undefined && !script.startsWith("#!")) {
      return { send: [name.replace("SHA", ""), countCalls(script), ...command.slice(2)], isScript: true };
    }
    return { send: conditional(command) ?? command, isScript: false };
  }

  const remember = (script: string): void =>
    void scripts.set(createHash("sha1").update(script).digest("hex"), script);

  function finish(reply: Reply, { isScript }: Plan): Reply {
    if (reply.kind === "error") return error(reply.text.replace("is not an integer or", "is not an int or"));
    if (!isScript || reply.kind !== "array") return reply;
    const [names, result] = reply.items;
    if (names?.kind === "array")
      for (const name of names.items) if (name.kind === "bulk") count(name.bytes.toString());
    return result ?? { kind: "nil" };
  }

  async function runEach(
    redis: RespConnection,
    batch: readonly Command[],
    options: BatchOptions,
  ): Promise<Reply[]> {
    const refused = batch.map((command) => admit(command, options.readOnly));
    const plans = batch.map(plan);
    const replies = await redis.send(plans.filter((_, at) => !refused[at]).map(({ send }) => send));
    return plans.map((planned, at) => {
      const reply = refused[at] ?? finish(replies.shift() ?? error("ERR no reply"), planned);
      return options.stale && READS.has(words(batch[at] ?? [])[0] ?? "") ? { kind: "nil" } : reply;
    });
  }

  async function runAtomic(
    redis: RespConnection,
    batch: readonly Command[],
    readOnly: boolean,
  ): Promise<Reply[] | Reply> {
    for (const command of batch) {
      const refused = admit(command, readOnly);
      if (refused) return refused;
    }
    const plans = batch.map(plan);
    const replies = await redis.send([["MULTI"], ...plans.map(({ send }) => send), ["EXEC"]]);
    const done = replies.at(-1);
    if (done?.kind !== "array") return replies.find(({ kind }) => kind === "error") ?? error("EXECABORT");
    return done.items.map((reply, at) => finish(reply, plans[at] ?? { send: [], isScript: false }));
  }

  return {
    bill: { total, byCommand: () => Object.fromEntries(billed), reset: () => billed.clear() },
    limit: (commands) => void (limit = commands),
    run: (redis, batch, options) =>
      options.atomic ? runAtomic(redis, batch, options.readOnly) : runEach(redis, batch, options),
    charge,
  };
}
