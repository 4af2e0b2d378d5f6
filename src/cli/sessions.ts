import { closeSessions, type Closing } from "./close-sessions.ts";
import { CommandError, EXIT, usage } from "./command-error.ts";
import { noMore, readFlags, readWhole } from "./flags.ts";
import { listSessions, showSession } from "./list-sessions.ts";
import { findStore, withStore, type OpenStore } from "./open-store.ts";
import type { CliParts } from "./parts.ts";
import { seatedIds } from "./session-rows.ts";
import { acting, tell } from "./words.ts";

const HELP = `See who is connected, on all instances, and end sessions.

  mcp-sse-gateway sessions list
  mcp-sse-gateway sessions list --caller ada --json
  mcp-sse-gateway sessions show 0b2f4c1e-6d0a-4a5e-9a57-3f2b8c1d7e90
  mcp-sse-gateway sessions close 0b2f4c1e-6d0a-4a5e-9a57-3f2b8c1d7e90
  mcp-sse-gateway sessions close --caller ada

list    id, caller, server, transport, the instance that owns it and whether that lives, age, expiry, client
show    all that is recorded of one session, what its client said in initialize included
close   asks the owner to end it, and waits until it has; what a dead instance left is removed

  --caller NAME  only the sessions of this caller
  --limit N      list: so many at most (1000)
  --wait N       close: seconds to wait for owners (45)
  --store URL    redis://, rediss://, https://:TOKEN@host, file:directory, or env:NAME for the URL in a
                 variable; default: the store of the environment
  --prefix TEXT  what every key begins with (REDIS_KEY_PREFIX)
  --json         one JSON object a line

Exit codes: 0 done, 1 not found (show) or still open (close), 2 wrong usage, 3 store unavailable, 130 interrupted.
`;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const OPTIONS = {
  caller: { type: "string" },
  limit: { type: "string" },
  wait: { type: "string" },
  store: { type: "string" },
  prefix: { type: "string" },
  json: { type: "boolean" },
} as const;

/** `sessions`: lists, shows and closes. */
export async function sessions(args: string[], parts: CliParts): Promise<number> {
  const read = readFlags(args, OPTIONS, HELP, parts);
  if (!read) return EXIT.done;
  const { caller, store: url, prefix, json = false } = read.values;
  const [verb, id, ...more] = read.positionals;
  const limit = readWhole(read.values.limit, { flag: "--limit", min: 1, max: 1_000_000, fallback: 1000 });
  const waitSeconds = readWhole(read.values.wait, { flag: "--wait", min: 0, max: 3600, fallback: 45 });
  noMore(verb === "list" && id !== undefined ? [id] : more);
  if (caller === "") throw usage("Behind --caller there must be a name.");
  if (id !== undefined && !UUID.test(id))
    throw usage("A session's id is a UUID, as `sessions list` prints it.");
  const work = workOf(verb, id, { caller, limit, waitMs: waitSeconds * 1000, json }, parts);
  const options = { prefix, mayWrite: verb === "close" };
  return await withStore(parts, findStore(parts, url, "--store"), options, work);
}

interface Wish {
  caller: string | undefined;
  limit: number;
  waitMs: number;
  json: boolean;
}

/** What a verb does with the store. Throws `usage` for a verb that is none, or that lacks a word. */
function workOf(verb: string | undefined, id: string | undefined, wish: Wish, parts: CliParts) {
  const { caller } = wish;
  if (verb === "list") return (store: OpenStore) => listSessions(store, parts, wish);
  if (verb === "show" && id !== undefined)
    return (store: OpenStore) => showSession(store, parts, { id, json: wish.json });
  if (verb === "show") throw usage("Say which: sessions show ID.");
  if (verb !== "close")
    throw usage("Say what: sessions list, sessions show ID, or sessions close ID. See --help.");
  if ((id === undefined) === (caller === undefined))
    throw usage("Say which: sessions close ID, or sessions close --caller NAME.");
  const target = id ?? `caller ${caller}`;
  return (store: OpenStore) =>
    acting(parts, "sessions close", target, () => close(store, parts, { id, ...wish }));
}

const WORDS: Record<Closing["outcome"], string> = {
  closed: "closed by its owner",
  removed: "removed: the instance that owned it is dead",
  absent: "not there: it was closed or has expired",
  open: "still open: its owner has not ended it yet",
};

async function close(
  store: OpenStore,
  parts: CliParts,
  wish: Wish & { id: string | undefined },
): Promise<number> {
  const { id, caller = "", waitMs, json } = wish;
  const ids = id === undefined ? await seatedIds(store, caller) : [id];
  const { now, signal } = parts;
  let open = 0;
  await closeSessions(store, ids, {
    ...(id === undefined ? { caller } : {}),
    waitMs,
    now,
    signal,
    onClosed: (closing) => {
      if (closing.outcome === "open") open++;
      const words = `${closing.id}  ${WORDS[closing.outcome]}`;
      parts.stdout.write(`${json ? JSON.stringify(closing) : words}\n`);
    },
  });
  if (ids.length === 0) tell(parts, json, { closed: 0 }, ["This caller has no sessions."]);
  if (signal.aborted)
    throw new CommandError(EXIT.interrupted, "Stopped: owners end the rest as soon as they look.");
  return open === 0 ? EXIT.done : EXIT.failed;
}
