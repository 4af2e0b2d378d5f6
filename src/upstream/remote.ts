import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { createWire, DetectingWire, type Memory } from "./remote-detect.ts";
import { createRemoteHttp } from "./remote-http.ts";
import { RemoteLink, type Warn } from "./remote-link.ts";
import { Refusal } from "./remote-post.ts";
import { type Era, probeEra } from "./remote-probe.ts";
import { ToolParams } from "./remote-params.ts";
import { StatelessWire } from "./remote-stateless.ts";
import type { Wire, WireOwner } from "./remote-wire.ts";
import type { LinkEvents, Upstream } from "./upstream.ts";

export interface RemoteUpstreamOptions {
  name: string;
  url: string;
  /** Sent with every request; the only headers of anybody's that are. */
  headers: Readonly<Record<string, string>>;
  /** `auto`: found out with a link's first message, and remembered. */
  transport: "auto" | "streamable" | "sse";
  /** The longest message that it may send, in bytes. */
  maxMessageBytes: number;
  /** How many links of each era may be open. Default 1000. */
  maxLinks?: number;
  log: Log;
}

export interface RemoteUpstream extends Upstream {
  /** For requests of the 2026-07-28 era. Its links reject with `upstream_era` where the server knows only older ones. */
  readonly stateless: Upstream;
}

/** A server that may have been told apart as an old one is asked again after so long: it may have been renewed. */
const LEGACY_MS = 10 * 60_000;
const LOG_MS = 10_000;

/** A server elsewhere, reached over Streamable HTTP or HTTP+SSE. Its links touch nothing until their first message. */
export function createRemoteUpstream(options: RemoteUpstreamOptions): RemoteUpstream {
  const { name, headers, transport, maxMessageBytes, maxLinks = 1000 } = options;
  const url = new URL(options.url);
  const log = options.log.child({ server: name });
  const createHttp = () => createRemoteHttp({ url, headers, keepAlive: true });
  const shared = createRemoteHttp({ url, headers, keepAlive: false });
  const memory: Memory = { transport: undefined };
  let era: { is: Promise<Era>; since: number } | undefined;
  let isClosed = false;
  const warn = rarely((facts, words) => log.warn(facts, words));

  async function findEra(): Promise<Era> {
    const now = performance.now();
    if (era !== undefined) {
      const known = await era.is;
      if (known === "modern" || now - era.since < LEGACY_MS) return known;
    }
    const asked = { is: probeEra(shared, maxMessageBytes), since: now };
    era = asked;
    // What went wrong is not remembered.
    asked.is.catch((error: unknown) => {
      if (era === asked) era = undefined;
      const { status, cause } = error instanceof Refusal ? error : {};
      warn({ status, err: cause }, "The remote server did not say which versions it speaks");
    });
    return asked.is;
  }

  const legacy = createLinks({ name, maxLinks, warn }, (owner) => {
    const common = { url, maxMessageBytes, owner };
    if (transport === "auto") return new DetectingWire({ ...common, createHttp, memory });
    return createWire(transport, { ...common, http: createHttp() });
  });
  const params = new ToolParams();
  const modern = createLinks(
    { name, maxLinks, warn },
    (owner) => new StatelessWire({ http: shared, maxMessageBytes, owner, params }),
  );
  return {
    name,
    get isFull() {
      return legacy.isFull;
    },
    open: (events, signal) => legacy.open(events, signal),
    stateless: {
      name,
      get isFull() {
        return modern.isFull;
      },
      async open(events, signal) {
        signal.throwIfAborted();
        if (isClosed) throw new GatewayError("upstream_start_failed");
        if ((await unlessAborted(findEra(), signal)) === "legacy") throw new GatewayError("upstream_era");
        return modern.open(events, signal);
      },
      close: () => modern.close(),
    },
    async close() {
      isClosed = true;
      await Promise.all([legacy.close(), modern.close()]);
      await shared.close();
    },
  };
}

/** A server that fails a thousand times a second is told of once in a while, each kind of failure for itself. */
function rarely(write: Warn): Warn {
  const loggedAt = new Map<string, number>();
  return (facts, words) => {
    if (performance.now() - (loggedAt.get(words) ?? Number.NEGATIVE_INFINITY) < LOG_MS) return;
    loggedAt.set(words, performance.now());
    write(facts, words);
  };
}

interface LinksOptions {
  name: string;
  maxLinks: number;
  warn: Warn;
}

function createLinks(
  { name, maxLinks, warn }: LinksOptions,
  createLinkWire: (owner: WireOwner) => Wire,
): Upstream {
  const links = new Set<RemoteLink>();
  let closed = false;
  return {
    name,
    get isFull() {
      return links.size >= maxLinks;
    },
    async open(events: LinkEvents, signal: AbortSignal) {
      signal.throwIfAborted();
      if (closed) throw new GatewayError("upstream_start_failed");
      if (links.size >= maxLinks) throw new GatewayError("upstream_queue_full");
      const link: RemoteLink = new RemoteLink(events, createLinkWire, {
        onGone: () => links.delete(link),
        warn,
      });
      links.add(link);
      return link;
    },
    async close() {
      closed = true;
      await Promise.all([...links].map((link) => link.close()));
    },
  };
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
