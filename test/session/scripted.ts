import { pino } from "pino";
import type { ClientStream, ClientStreamEvents } from "../../src/session/client-stream.ts";
import type { SessionLimits } from "../../src/session/session-parts.ts";
import type { Servers } from "../../src/session/servers.ts";
import type { Link, LinkEvents, Upstream } from "../../src/upstream/upstream.ts";

export const silent = pino({ level: "silent" });

/** A session with these ends with its stream, and with its server. */
export const LIMITS: SessionLimits = {
  heartbeatMs: 30_000,
  inFlight: 4,
  outboxPauseBytes: 1000,
  outboxMaxBytes: 8000,
  slowReaderMs: 30_000,
  idleMs: 1_800_000,
  firstPostMs: 30_000,
  startMs: 60_000,
  requestTimeoutMs: 600_000,
  orphanMs: 0,
  maxAgeMs: 0,
  streamMaxAgeMs: 0,
  restarts: 0,
};

/** A JSON-RPC message, as tests look at it. */
export interface Message {
  id?: number | string;
  method?: string;
  params?: Record<string, unknown>;
  result?: unknown;
  error?: { code: number; message: string; data: { reason: string } };
}

export const parse = (text: string): Message => JSON.parse(text) as Message;

/** A link whose other end is the test. */
export class ScriptedLink implements Link {
  readonly sent: string[] = [];
  readonly events: LinkEvents;
  isPaused = false;
  closes = 0;
  /** What `send` answers next; undefined: taken at once. */
  answer: Promise<void> | undefined;
  /** What the server says to a message, before anything else happens. */
  reply: ((message: Message) => unknown) | undefined;

  constructor(events: LinkEvents) {
    this.events = events;
  }

  /** Everything that it was sent, parsed. */
  get told(): Message[] {
    return this.sent.map(parse);
  }

  send(message: Buffer): Promise<void> | undefined {
    if (this.answer !== undefined) return this.answer.then(() => this.#take(message));
    this.#take(message);
    return undefined;
  }

  /** The server says something. */
  say(message: unknown): void {
    this.events.onMessage(Buffer.from(typeof message === "string" ? message : JSON.stringify(message)));
  }

  /** The server is gone. */
  die(): void {
    this.events.onEnd("upstream_exited");
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  close(): Promise<void> {
    this.closes += 1;
    return Promise.resolve();
  }

  #take(message: Buffer): void {
    this.sent.push(message.toString());
    const said = this.reply?.(parse(message.toString()));
    if (said !== undefined) this.say(said);
  }
}

/** Answers each `initialize` like a server that offers this. */
export const offers = (capabilities: unknown) => (message: Message) =>
  message.method === "initialize" ? { jsonrpc: "2.0", id: message.id, result: { capabilities } } : undefined;

export interface ScriptedUpstream extends Upstream {
  readonly links: ScriptedLink[];
  /** Becomes `reply` of the links that are opened from now on. */
  reply: ScriptedLink["reply"];
  /** The next attempts to open a link fail with these. */
  readonly failures: Error[];
}

/** An upstream whose links are the test's, and which opens them when the test lets it. */
export function scriptedUpstream(gate: Promise<unknown> = Promise.resolve()): ScriptedUpstream {
  const upstream: ScriptedUpstream = {
    name: "scripted",
    isFull: false,
    links: [],
    reply: undefined,
    failures: [],
    async open(events) {
      await gate;
      const failure = upstream.failures.shift();
      if (failure !== undefined) throw failure;
      const link = new ScriptedLink(events);
      link.reply = upstream.reply;
      upstream.links.push(link);
      return link;
    },
    close: () => Promise.resolve(),
  };
  return upstream;
}

/** A stream that notes what it is given, stands still when told to, and whose socket takes what it is told to. */
export class ScriptedStream implements ClientStream {
  events: ClientStreamEvents | undefined;
  readonly written: [sequence: number, message: string][] = [];
  pings = 0;
  keepsUp = true;
  pendingBytes = 0;
  endsUnheard = false;
  canResume = true;
  end_: "open" | "ended" | "cut" = "open";
  retryMs: number | undefined;

  /** What was written, parsed. */
  get messages(): Message[] {
    return this.written.map(([, message]) => parse(message));
  }

  get sequences(): number[] {
    return this.written.map(([sequence]) => sequence);
  }

  write(sequence: number, message: Buffer): boolean {
    this.written.push([sequence, message.toString()]);
    return this.keepsUp;
  }

  /** What there is to be found out of its end; nothing, unless the test says so. */
  confirm(): Promise<void> {
    return Promise.resolve();
  }

  ping(): void {
    this.pings += 1;
  }

  end(retryMs?: number): void {
    this.end_ = "ended";
    this.retryMs = retryMs;
  }

  cut(): void {
    this.end_ = "cut";
  }

  /** The socket takes this many messages more. */
  take(count = 1): void {
    for (let one = 0; one < count; one += 1) this.events?.onTaken(this);
  }

  /** The socket takes messages again. */
  drain(): void {
    this.keepsUp = true;
    this.events?.onDrain(this);
  }

  /** The socket is gone. */
  close(): void {
    this.events?.onClose(this);
  }
}

/** Everything that is under way and waits for nothing of the world has happened. */
export const settled = async (turns = 3): Promise<void> => {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** One server, which every caller may use. */
export const onlyServer = (upstream: Upstream): Servers => ({
  root: upstream.name,
  upstreamFor: (server) => (server === upstream.name ? upstream : undefined),
  statelessFor: () => undefined,
  limitsOf: () => undefined,
});
