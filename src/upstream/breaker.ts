import { GatewayError, type Reason } from "../errors.ts";
import type { Events } from "../events.ts";
import type { Log } from "../log.ts";
import { scanMessage } from "../protocol/json-rpc.ts";
import type { LinkEnd, LinkEvents, Upstream } from "./upstream.ts";

export interface BreakerOptions {
  /** After so many failed starts in a row nothing is started for a while. */
  failures: number;
  /** How long at first, in milliseconds; twice as long after each trial that fails, up to ten minutes. */
  resetMs: number;
  /** Told when the server begins to be left alone, and when it is used again. */
  events: Events;
  log: Log;
  /** Monotonic time in ms. */
  now?: () => number;
}

const MAX_REST_MS = 600_000;
/** A server that has answered nothing and ends sooner after its start, or before it has said anything, has not really started. */
const YOUNG_MS = 1000;

const FAILED_STARTS: ReadonlySet<Reason> = new Set(["upstream_start_failed", "upstream_unreachable"]);

/** A time in which the server is left alone. */
interface Rest {
  /** In ms of `now`. */
  readonly until: number;
  readonly ms: number;
  /** A trial is under way. */
  isTried: boolean;
}

/** Leave to open one link. */
interface Ticket {
  readonly trialOf: Rest | undefined;
}

/**
 * Leaves a server alone that fails again and again: `open` then rejects at once with `upstream_unavailable`. After a
 * while one open is let through as a trial; others go on being refused until it is known how that went.
 */
export function breakUpstream(inner: Upstream, options: BreakerOptions): Upstream {
  const { failures: limit, resetMs, events, log, now = () => performance.now() } = options;
  let failures = 0;
  /** Set while the server is left alone. */
  let rest: Rest | undefined;
  let closed = false;

  /** Leave to open a link. */
  function admit(): Ticket {
    if (rest === undefined) return { trialOf: undefined };
    if (now() < rest.until || rest.isTried) throw new GatewayError("upstream_unavailable");
    rest.isTried = true;
    return { trialOf: rest };
  }

  function failed({ trialOf }: Ticket): void {
    if (closed) return;
    failures += 1;
    if (rest === undefined) {
      if (failures < limit) return;
      log.warn(
        { server: inner.name, failures, restMs: resetMs },
        "The server fails again and again: left alone",
      );
      events.emit({ type: "server_circuit", server: inner.name, state: "open" });
      rest = { until: now() + resetMs, ms: resetMs, isTried: false };
    } else if (rest === trialOf) {
      const ms = Math.min(rest.ms * 2, MAX_REST_MS);
      rest = { until: now() + ms, ms, isTried: false };
    }
  }

  function succeeded({ trialOf }: Ticket): void {
    // A link from before says nothing about now.
    if (rest !== trialOf) return;
    failures = 0;
    if (rest === undefined) return;
    rest = undefined;
    log.info({ server: inner.name }, "The server works again");
    events.emit({ type: "server_circuit", server: inner.name, state: "closed" });
  }

  /** It is not known how it went: the next one is a trial too. */
  function undecided({ trialOf }: Ticket): void {
    if (trialOf) trialOf.isTried = false;
  }

  /** Passes everything on, and looks whether the server has really started. */
  function watch(ticket: Ticket, events: LinkEvents): LinkEvents & { opened(): void } {
    let openedAt: number | undefined;
    let hasSpoken = false;
    let timer: NodeJS.Timeout | undefined;
    let isJudged = false;
    const isOld = (): boolean => openedAt !== undefined && now() - openedAt >= YOUNG_MS;
    const judge = (verdict: (ticket: Ticket) => void): void => {
      if (isJudged) return;
      isJudged = verdict !== undecided;
      verdict(ticket);
    };
    return {
      opened() {
        openedAt = now();
        timer = setTimeout(() => judge(hasSpoken ? succeeded : undecided), YOUNG_MS).unref();
      },
      onMessage(message, envelope) {
        hasSpoken = true;
        // What crashes after an answer may have been crashed by its one client: that says nothing to the others.
        if (!isJudged && (isOld() || isAnswer(message))) judge(succeeded);
        events.onMessage(message, envelope);
      },
      onEnd(end: LinkEnd) {
        clearTimeout(timer);
        if (end === "upstream_exited" && !(isOld() && hasSpoken)) judge(failed);
        else judge(hasSpoken ? succeeded : undecided);
        events.onEnd(end);
      },
    };
  }

  return {
    name: inner.name,
    get isFull() {
      return inner.isFull;
    },
    async open(events, signal) {
      signal.throwIfAborted();
      if (closed) throw new GatewayError("upstream_start_failed");
      const ticket = admit();
      const watched = watch(ticket, events);
      try {
        const link = await inner.open(watched, signal);
        watched.opened();
        return link;
      } catch (error) {
        if (error instanceof GatewayError && FAILED_STARTS.has(error.reason)) failed(ticket);
        else undecided(ticket);
        throw error;
      }
    },
    async close() {
      closed = true;
      // It is nobody's any more, and must not be seen as one that is left alone.
      if (rest !== undefined) events.emit({ type: "server_circuit", server: inner.name, state: "closed" });
      await inner.close();
    },
  };
}

function isAnswer(message: Buffer): boolean {
  const envelope = scanMessage(message);
  return typeof envelope !== "string" && envelope.kind === "response";
}
