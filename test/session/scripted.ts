import { pino } from "pino";
import type { ClientStream } from "../../src/session/client-stream.ts";
import type { SessionLimits } from "../../src/session/session.ts";
import type { Link, LinkEvents, Upstream } from "../../src/upstream/upstream.ts";

export const silent = pino({ level: "silent" });

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
};

/** A link whose other end is the test. */
export class ScriptedLink implements Link {
  readonly sent: string[] = [];
  readonly events: LinkEvents;
  isPaused = false;
  closes = 0;
  /** What `send` answers next; undefined: taken at once. */
  answer: Promise<void> | undefined;

  constructor(events: LinkEvents) {
    this.events = events;
  }

  send(message: Buffer): Promise<void> | undefined {
    if (this.answer === undefined) {
      this.sent.push(message.toString());
      return undefined;
    }
    return this.answer.then(() => void this.sent.push(message.toString()));
  }

  /** The server says something. */
  say(message: unknown): void {
    this.events.onMessage(Buffer.from(typeof message === "string" ? message : JSON.stringify(message)));
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
}

/** An upstream whose links are the test's, and which opens them when the test lets it. */
export function scriptedUpstream(
  gate: Promise<unknown> = Promise.resolve(),
): Upstream & { links: ScriptedLink[] } {
  const links: ScriptedLink[] = [];
  return {
    name: "scripted",
    links,
    async open(events) {
      await gate;
      const link = new ScriptedLink(events);
      links.push(link);
      return link;
    },
    close: () => Promise.resolve(),
  };
}

/** A stream that notes what it is given, and stands still when told to. */
export class ScriptedStream implements ClientStream {
  readonly written: [sequence: number, message: string][] = [];
  pings = 0;
  keepsUp = true;
  pendingBytes = 0;
  end_: "open" | "ended" | "cut" = "open";
  retryMs: number | undefined;

  write(sequence: number, message: Buffer): boolean {
    this.written.push([sequence, message.toString()]);
    return this.keepsUp;
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
}
