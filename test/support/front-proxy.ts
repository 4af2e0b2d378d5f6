import { once } from "node:events";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import {
  createRandom,
  EdgeAgent,
  endToEndHeaders,
  forwardedHeaders,
  SessionSniffer,
} from "./front-proxy-parts.ts";

/**
 * How a response is cut. `end`: properly, as an edge ends an HTTP/2 stream; `fin`: the connection closes in the middle of
 * the body; `rst`: it is reset.
 */
export type Cut = "end" | "fin" | "rst";

/** One instance behind the proxy. */
export interface Backend {
  readonly name: string;
  readonly port: number;
}

/** What a `route` callback may decide by. */
export interface RoutedRequest {
  method: string;
  path: string;
  sessionId: string | undefined;
  /** Where the session's stream goes, once one has passed through here. */
  streamAt: Backend | undefined;
}

export interface FrontProxyOptions {
  /** Makes the same choices again. Drawn and printed where left out. */
  seed?: number;
  /** Age at which each response is cut. */
  maxAgeMs?: number;
  /** How responses are cut at that age. */
  cutBy?: Cut;
  /** How long after its client an instance hears of a cut. What it writes meanwhile is lost, as in a real edge. */
  lagMs?: number;
  /** Chooses among the instances in rotation; undefined leaves it to chance. */
  route?: (request: RoutedRequest, rotation: readonly Backend[]) => Backend | undefined;
}

export interface FrontCounts {
  requests: number;
  streams: number;
  /** Cuts, by age or by hand. */
  cuts: number;
  /** Requests that went to another instance because the first refused the connection. */
  reroutes: number;
  /** Answers 502: nobody took the request, or the instance went away before it answered. */
  badGateways: number;
  /** Bytes that instances wrote to streams after these were cut: sent, and received by no one. */
  lostBytes: number;
}

export interface OpenStream {
  readonly sessionId: string | undefined;
  readonly backend: Backend;
  readonly ageMs: number;
}

/** A front proxy that copies Railway's edge: a random instance for each request, keep-alive both ways, no stickiness. */
export interface FrontProxy {
  readonly url: string;
  readonly port: number;
  readonly seed: number;
  /** Puts an instance into rotation. */
  add(backend: Backend): void;
  /** Takes it out; what is under way there goes on. */
  remove(name: string): void;
  rotation(): readonly Backend[];
  openStreams(): OpenStream[];
  /** Cuts every open stream; answers how many. */
  cutAll(kind: Cut): number;
  /** Cuts one of `openStreams()`. */
  cutOne(index: number, kind: Cut): void;
  counts(): FrontCounts;
  setMaxAge(milliseconds: number | undefined): void;
  setRoute(route: FrontProxyOptions["route"]): void;
  /** Safe to call twice. */
  close(): Promise<void>;
}

/** Longer than clients keep an idle connection, so that it is never the proxy that closes one under a request. */
const DOWNSTREAM_IDLE_MS = 60_000;
const HEADER_BYTES = 32 * 1024;

interface Stream {
  backend: Backend;
  sniffer: SessionSniffer;
  openedAt: number;
  cut(kind: Cut): void;
}

/** Starts the proxy on 127.0.0.1, with no instance in rotation. */
export async function startFrontProxy(options: FrontProxyOptions = {}): Promise<FrontProxy> {
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
  if (options.seed === undefined) process.stderr.write(`front proxy draws with seed ${seed}\n`);
  const random = createRandom(seed);
  const { cutBy = "fin", lagMs = 0 } = options;
  let { maxAgeMs, route } = options;
  const agents = new Map<string, EdgeAgent>();
  let rotation: Backend[] = [];
  const streams = new Set<Stream>();
  /** Cut, and the instance does not know yet. */
  const lagging = new WeakSet<ServerResponse>();
  const whereabouts = new Map<string, Backend>();
  const counts = { requests: 0, streams: 0, cuts: 0, reroutes: 0, badGateways: 0, lostBytes: 0 };

  function choose(req: IncomingMessage, refusedBy: ReadonlySet<string>): Backend | undefined {
    const candidates = rotation.filter(({ name }) => !refusedBy.has(name));
    const sessionId = new URL(req.url ?? "/", "http://front").searchParams.get("sessionId") ?? undefined;
    const { method = "", url: path = "" } = req;
    const streamAt = sessionId === undefined ? undefined : whereabouts.get(sessionId);
    const wish = route?.({ method, path, sessionId, streamAt }, candidates);
    return wish ?? candidates[Math.floor(random() * candidates.length)];
  }

  /** Hands the request to an instance, and to the next one for as long as the connection itself is refused. */
  function forward(req: IncomingMessage, res: ServerResponse, refusedBy: ReadonlySet<string>): void {
    const backend = choose(req, refusedBy);
    if (backend === undefined) return refuse(res);
    const up = request({
      host: "127.0.0.1",
      port: backend.port,
      method: req.method,
      path: req.url,
      headers: forwardedHeaders(req),
      agent: agents.get(backend.name),
    });
    up.once("response", (answer) => pass(answer, up.socket as Socket, res, backend));
    up.once("error", (error: NodeJS.ErrnoException) => {
      req.unpipe(up);
      if (res.headersSent) return res.destroy();
      // Nothing reached the instance; or the request changes nothing, and its connection had been closed before it.
      const mayTryAnother =
        error.code === "ECONNREFUSED" || (req.method === "GET" && up.reusedSocket && !res.destroyed);
      if (!mayTryAnother) return refuse(res);
      counts.reroutes += 1;
      forward(req, res, new Set([...refusedBy, backend.name]));
    });
    res.once("close", () => {
      if (!res.writableFinished && !lagging.has(res)) up.destroy();
    });
    // Not before there is a connection: a body that went into a refused one could not be sent again.
    up.once("socket", (socket: Socket) => {
      if (socket.connecting) socket.once("connect", () => req.pipe(up));
      else req.pipe(up);
    });
    up.flushHeaders();
  }

  function refuse(res: ServerResponse): void {
    counts.badGateways += 1;
    if (!res.destroyed && !res.headersSent)
      res.writeHead(502, { "content-type": "text/plain" }).end("Bad Gateway");
  }

  function pass(answer: IncomingMessage, from: Socket, res: ServerResponse, backend: Backend): void {
    res.writeHead(answer.statusCode ?? 502, endToEndHeaders(answer));
    res.flushHeaders();
    answer.once("error", () => undefined);
    const isStream = (answer.headers["content-type"] ?? "").startsWith("text/event-stream");
    const sniffer = new SessionSniffer();
    let isCut = false;
    let timer: NodeJS.Timeout | undefined;
    const stream = { backend, sniffer, openedAt: performance.now(), cut };

    function cut(kind: Cut): void {
      if (isCut || res.destroyed) return;
      isCut = true;
      counts.cuts += 1;
      streams.delete(stream);
      if (lagMs > 0) lagging.add(res);
      if (kind === "rst") res.socket?.resetAndDestroy();
      else if (kind === "fin") res.socket?.destroySoon();
      else res.end();
      const leave = () => void (kind === "rst" ? from.resetAndDestroy() : from.destroy());
      if (lagMs === 0) leave();
      else setTimeout(leave, lagMs);
    }
    if (isStream) {
      counts.streams += 1;
      streams.add(stream);
    }
    if (maxAgeMs !== undefined) timer = setTimeout(() => cut(cutBy), maxAgeMs);
    answer.on("data", (chunk: Buffer) => {
      if (isCut) return void (counts.lostBytes += chunk.length);
      if (isStream && sniffer.sessionId === undefined) {
        sniffer.feed(chunk);
        if (sniffer.sessionId !== undefined) whereabouts.set(sniffer.sessionId, backend);
      }
      if (!res.write(chunk)) answer.pause();
    });
    res.on("drain", () => answer.resume());
    answer.once("end", () => !isCut && res.end());
    // The instance's end of the connection went away before the end of the body: the client sees the same.
    answer.once("close", () => {
      if (!answer.complete && !isCut) res.socket?.destroySoon();
    });
    res.once("close", () => {
      clearTimeout(timer);
      streams.delete(stream);
    });
  }

  const server = createServer({ maxHeaderSize: HEADER_BYTES, requestTimeout: 0 }, (req, res) => {
    counts.requests += 1;
    req.on("error", () => undefined);
    res.on("error", () => undefined);
    forward(req, res, new Set());
  });
  server.keepAliveTimeout = DOWNSTREAM_IDLE_MS;
  server.on("connection", (socket) => socket.setNoDelay(true));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    for (const agent of agents.values()) agent.destroy();
    await closed;
  }
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    seed,
    add: (backend) => {
      agents.get(backend.name)?.retire();
      agents.set(backend.name, new EdgeAgent());
      rotation = [...rotation.filter(({ name }) => name !== backend.name), backend];
    },
    remove: (name) => {
      rotation = rotation.filter((backend) => backend.name !== name);
      agents.get(name)?.retire();
    },
    rotation: () => rotation,
    openStreams: () =>
      [...streams].map(({ backend, sniffer, openedAt }) => ({
        backend,
        sessionId: sniffer.sessionId,
        ageMs: performance.now() - openedAt,
      })),
    cutAll: (kind) => {
      const all = [...streams];
      for (const stream of all) stream.cut(kind);
      return all.length;
    },
    cutOne: (index, kind) => [...streams][index]?.cut(kind),
    counts: () => ({ ...counts }),
    setMaxAge: (milliseconds) => void (maxAgeMs = milliseconds),
    setRoute: (next) => void (route = next),
    close: () => (closing ??= close()),
  };
}
