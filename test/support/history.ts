import { existsSync, readFileSync } from "node:fs";

/** How a call ended, as its client saw it. */
export type Outcome =
  | { kind: "result"; nonce: string; pid: number }
  /** A JSON-RPC error. */
  | { kind: "error"; code: number; reason: string | undefined }
  /** The POST was answered with another status than 202, or its connection broke (status 0). */
  | { kind: "refused"; status: number; reason: string | undefined }
  | { kind: "timeout" };

export interface CallRecord {
  client: string;
  nonce: string;
  tool: string;
  startedAt: number;
  endedAt: number | undefined;
  outcomes: Outcome[];
}

/** What one client lived through. */
export interface ClientRecord {
  name: string;
  calls: CallRecord[];
  /** Numbers of the log notifications it got, each with the process that sent it, in order. */
  notifications: { pid: number; number: number }[];
  /** The last number that each process said it had sent. */
  lastSent: Map<number, number>;
  /** Requests of the server that it was asked, by id. */
  asked: string[];
  /** Answers that came on the wire, by id: an SDK client hides a second one. */
  wireAnswers: Map<string | number, number>;
  /** Status of each stream that it opened; 0 for one that could not be. */
  streams: { at: number; status: number }[];
  listChanged: number;
  /** Answers to the server whose POST was refused (status 0: broke): an SDK does not send them again. */
  failedAnswers: { at: number; status: number }[];
}

/** One line of `fixtures/ledger-server.mjs`. */
export interface LedgerLine {
  kind:
    | "call"
    | "initialize"
    | "breach"
    | "resources/subscribe"
    | "resources/unsubscribe"
    | "logging/setLevel";
  pid: number;
  time: number;
  client: string;
  nonce?: string;
  tool?: string;
  what?: string;
}

/** What all clients of a story lived through. */
export class History {
  readonly clients = new Map<string, ClientRecord>();

  /** The record of a client, made at the first mention. Names must differ, and be those of its `clientInfo`. */
  client(name: string): ClientRecord {
    const known = this.clients.get(name);
    if (known !== undefined) return known;
    const made: ClientRecord = {
      name,
      calls: [],
      notifications: [],
      lastSent: new Map(),
      asked: [],
      wireAnswers: new Map(),
      streams: [],
      listChanged: 0,
      failedAnswers: [],
    };
    this.clients.set(name, made);
    return made;
  }

  start(client: string, nonce: string, tool: string): CallRecord {
    const call = { client, nonce, tool, startedAt: Date.now(), endedAt: undefined, outcomes: [] };
    this.client(client).calls.push(call);
    return call;
  }

  end(call: CallRecord, outcome: Outcome): void {
    call.endedAt ??= Date.now();
    call.outcomes.push(outcome);
  }

  /** Calls of a client, or of all, that have no outcome yet. */
  inFlight(client?: string): CallRecord[] {
    const clients = client === undefined ? [...this.clients.values()] : [this.client(client)];
    return clients.flatMap(({ calls }) => calls.filter(({ outcomes }) => outcomes.length === 0));
  }
}

export function readLedger(file: string): LedgerLine[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line) as LedgerLine);
}
