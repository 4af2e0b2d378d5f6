import type { Target } from "../target.ts";

/** Where the load goes, and in what shape. */
export interface LoadPlan {
  port: number;
  transport: Target["transport"];
  /** Of the stream, or of Streamable HTTP. */
  path: string;
  /** Sent with the GET and with every POST. */
  headers: Record<string, string>;
  /** 0: the sessions only listen, those of Streamable HTTP with a GET as well. */
  inFlight: number;
  /** Length of the text in each answer. Up to 64 KiB it is in the request too; above, the tool fills it up. */
  bytes: number;
  /** Gives every session ids of its own; without it all count 0, 1, 2, … as SDK clients do. */
  disjointIds: boolean;
}

/** What the bench tells the generator, one order at a time; each gets one reply. */
export type Order =
  | { do: "open"; plan: LoadPlan; sessions: number }
  | { do: "warm-up"; seconds: number; calls: number }
  | { do: "count"; seconds: number }
  | { do: "stop" };

export type Reply = { done: Order["do"]; opened?: Opened; counted?: Counted } | { failed: string };

export interface Opened {
  sessions: number;
  failed: number;
  firstFailure?: string;
  /** From connecting to the first `endpoint` event; of Streamable HTTP to the answer of `initialize`. */
  endpointP50Ms: number;
  endpointP99Ms: number;
  /** The whole handshake. */
  p50Ms: number;
  p99Ms: number;
}

export interface Counted {
  seconds: number;
  right: number;
  /** The right id with another session's nonce: an SDK client would take it as its result. */
  wrongSession: number;
  /** Messages for which no call was pending. */
  stray: number;
  errors: number;
  firstError?: string;
  lostSessions: number;
  p50Ms: number;
  p99Ms: number;
  /** Share of one core that the generator itself used. */
  generatorShare: number;
}
