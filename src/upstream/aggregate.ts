import { randomUUID } from "node:crypto";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Crew } from "./aggregate-crew.ts";
import { Health } from "./aggregate-health.ts";
import { AggregateLink } from "./aggregate-link.ts";
import { Member, type MemberParts } from "./aggregate-member.ts";
import { Owners } from "./aggregate-owners.ts";
import { Told } from "./aggregate-told.ts";
import type { Link, LinkEvents, Upstream } from "./upstream.ts";

export interface AggregateOptions {
  name: string;
  /** The servers, at least one, in the order of their lists. Their names have no `__`. They stay whoever's they are: not closed here. */
  members: readonly Upstream[];
  /** The version of the gateway, which clients see in `serverInfo`. */
  version: string;
  /** How long a server may take to be started and to introduce itself, in ms. */
  startMs: number;
  /** How long those who have answered wait for the others, in ms. Default 10000. */
  patienceMs?: number;
  log: Log;
}

/**
 * Several servers as one: tools and prompts are named `server__name`, resources keep their URIs. A server that fails is
 * missing, said so, and tried again; the others go on.
 */
export function createAggregateUpstream(options: AggregateOptions): Upstream {
  const { name, members, version, startMs, log } = options;
  if (members.length === 0) throw new TypeError("There are no servers to put together");
  const patienceMs = Math.min(options.patienceMs ?? 10_000, startMs);
  const healths = members.map((member) => new Health(member.name, log));
  const links = new Set<Link>();
  let closed = false;
  // A link of the 2026-07-28 era lives for one request, so what its lists tell is kept here.
  const owners = new Owners();

  function openLink(events: LinkEvents): Link {
    const gone = new AbortController();
    const told = new Told();
    const prefix = `mcp-sse-gateway/${randomUUID()}/`;
    let count = 0;
    const nextId = (): string => JSON.stringify(prefix + (count += 1));
    const parts: MemberParts = {
      startMs,
      gone: gone.signal,
      isPaused: () => link.isPaused,
      isIntroduced: () => told.initialize !== undefined,
      introduce: (member, signal) => told.introduce(member, nextId, signal),
      nextId,
      onMessage: (member, message, envelope) => link.hear(member, message, envelope),
      onUnreadable: (message) => crew.emit(message),
      onUp: (member) => link.cameUp(member),
      onDown: (member, reason, generation, asked) => link.wentDown(member, reason, generation, asked),
    };
    const own = new Owners();
    const crew: Crew = {
      members: members.map((member, at) => new Member(at, member, healths[at] as Health, parts)),
      version,
      startMs,
      patienceMs,
      told,
      get owners() {
        return told.isAnswered ? own : owners;
      },
      log,
      emit: (message) => {
        if (!gone.signal.aborted) events.onMessage(message);
      },
    };
    const link: AggregateLink = new AggregateLink(crew, async () => {
      gone.abort();
      await Promise.allSettled(crew.members.map((member) => member.close()));
      links.delete(link);
      events.onEnd("closed");
    });
    return link;
  }

  return {
    name,
    get isFull() {
      return members.some((member) => member.isFull);
    },
    async open(events, signal) {
      signal.throwIfAborted();
      if (closed) throw new GatewayError("upstream_start_failed");
      const link = openLink(events);
      links.add(link);
      return link;
    },
    async close() {
      closed = true;
      await Promise.all([...links].map((link) => link.close()));
    },
  };
}
