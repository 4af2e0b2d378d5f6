import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { cancelled, type Envelope, errorResponse, scanMessage } from "../protocol/json-rpc.ts";
import { Branch } from "./mux-branch.ts";
import {
  cancelledMark,
  idOf,
  progressMark,
  rename,
  renameAnswer,
  renameRequest,
  subscriptionMark,
  tokenMark,
} from "./mux-marks.ts";
import { CarriedRequests, type CarriedRequest } from "./mux-requests.ts";
import type { TrunkRules } from "./mux-rules.ts";
import type { Link, LinkEnd, LinkEvents } from "./upstream.ts";

export interface TrunkParts {
  createRules: (trunk: Trunk) => TrunkRules;
  /** The last branch has ended. */
  onEmpty: () => void;
  onEnd: () => void;
  log: Log;
}

/** Requests of the server that wait for a client's answer; more are refused. */
const MAX_ASKED = 1000;
/** Messages that a server may say before its link is open; more are dropped. */
const MAX_EARLY = 100;

/** One link to a server, shared by many branches. Every message is one branch's, or nobody's. */
export class Trunk {
  readonly branches = new Set<Branch>();
  readonly rules: TrunkRules;
  readonly events: LinkEvents = {
    onMessage: (message) => this.#read(message),
    onEnd: (end) => this.end(end),
  };
  readonly #parts: TrunkParts;
  readonly #requests = new CarriedRequests();
  /** The server's requests by id, whom each was put to, and the token it wants progress told with. */
  readonly #asked = new Map<string, { branch: Branch; token: string | undefined }>();
  #link: Link | undefined;
  /** What the server said before its link was ours to answer on. */
  #early: Buffer[] = [];
  #end: LinkEnd | undefined;
  #paused = 0;
  #speakers = 0;
  #onlySpeaker: Branch | undefined;

  constructor(parts: TrunkParts) {
    this.#parts = parts;
    this.rules = parts.createRules(this);
  }

  get isLive(): boolean {
    return this.#end === undefined;
  }

  use(link: Link): void {
    this.#link = link;
    for (const message of this.#early.splice(0)) this.#read(message);
  }

  open(events: LinkEvents): Branch {
    const branch = new Branch(this, events);
    this.branches.add(branch);
    this.#control();
    return branch;
  }

  /** A client's message. */
  take(branch: Branch, message: Buffer, envelope: Envelope): Promise<void> | undefined {
    if (branch !== this.#onlySpeaker) {
      this.#speakers += 1;
      this.#onlySpeaker = branch;
    }
    return this.rules.fromClient(branch, message, envelope);
  }

  /** Gives a client's message to the server, and its answer to the client. `onAnswer` as in `CarriedRequest`. */
  forward(
    branch: Branch,
    message: Buffer,
    envelope: Envelope,
    onAnswer?: CarriedRequest["onAnswer"],
  ): Promise<void> | undefined {
    if (envelope.kind === "response") return this.#forwardAnswer(branch, message, envelope);
    if (envelope.kind === "notification") return this.#forwardNotice(branch, message, envelope);
    const innerId = this.#requests.nextId();
    const { message: renamed, ownId, ownToken, wantsLogs } = renameRequest(message, innerId, idOf(envelope));
    const key = envelope.id as string;
    const onOwnAnswer = undefined;
    return this.#give(renamed, { innerId, branch, ownId, key, ownToken, wantsLogs, onAnswer, onOwnAnswer });
  }

  /** Asks the server something of our own. The message's id is replaced. */
  ask(message: Buffer, onOwnAnswer: CarriedRequest["onOwnAnswer"]): Promise<void> | undefined {
    const innerId = this.#requests.nextId();
    const renamed = renameRequest(message, innerId).message;
    const own = { branch: undefined, ownId: innerId, key: innerId, ownToken: undefined, wantsLogs: false };
    return this.#give(renamed, { innerId, ...own, onAnswer: undefined, onOwnAnswer });
  }

  /** Tells the server that nobody waits for an answer any more; it is dropped if it comes. */
  cancel(request: CarriedRequest): void {
    this.#requests.abandon(request);
    const { innerId } = request;
    this.tell(this.rules.cancel?.(innerId) ?? cancelled(innerId, "The client has gone."));
  }

  /** Tells the server something, if it still listens. */
  tell(message: Buffer): void {
    this.#link?.send(message)?.catch(() => undefined);
  }

  /** Puts a request of the server to a branch, or answers that there is none. */
  present(branch: Branch | undefined, message: Buffer, envelope: Envelope): void {
    const id = envelope.id as string;
    if (!branch?.isOpen || this.#asked.size >= MAX_ASKED) {
      this.tell(
        errorResponse(id, -32601, "There is no one client that this could be for.", "upstream_cannot"),
      );
      return;
    }
    this.#asked.set(id, { branch, token: tokenMark(message)?.name });
    branch.deliver(message);
  }

  /**
   * The one branch that an unaddressed message can be for: the only one that ever spoke, or the only one for which the
   * server is at work, or was of late.
   */
  onlyBranch(): Branch | undefined {
    return this.#speakers === 1 ? this.#onlySpeaker : this.#requests.onlyBranch();
  }

  /** As `onlyBranch`, among those whose requests asked for log messages. */
  onlyBranchWithLogs(): Branch | undefined {
    return this.#requests.onlyBranch(true);
  }

  /** The request that is being answered goes on as a task: its progress is still told. */
  keepToken(request: CarriedRequest): void {
    this.#requests.keepToken(request);
  }

  /** A branch pauses (1) or goes on (-1). The server is paused only while nobody could hear it. */
  paused(change: 1 | -1): void {
    this.#paused += change;
    this.#control();
  }

  /** Undoes what an ended branch has left with the server. */
  release(branch: Branch): void {
    this.branches.delete(branch);
    if (this.#end === undefined) {
      for (const request of [...branch.requests.values()]) this.cancel(request);
      for (const [id, { branch: whose }] of this.#asked) {
        if (whose !== branch) continue;
        this.#asked.delete(id);
        this.tell(errorResponse(id, -32603, "The client has gone.", "session_not_found"));
      }
      this.#requests.leave(branch);
      this.rules.left?.(branch);
    }
    this.#control();
    if (this.branches.size === 0) this.#parts.onEmpty();
  }

  /** Ends every branch. Safe to call twice. */
  end(reason: LinkEnd): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    for (const branch of this.branches) branch.end(reason);
    this.#requests.end();
    this.#parts.onEnd();
  }

  async close(): Promise<void> {
    this.end("closed");
    await this.#link?.close();
  }

  #control(): void {
    if (this.branches.size > 0 && this.#paused === this.branches.size) this.#link?.pause();
    else this.#link?.resume();
  }

  #give(message: Buffer, request: CarriedRequest): Promise<void> | undefined {
    if (this.#link === undefined || this.#end !== undefined) {
      return Promise.reject(new GatewayError("upstream_exited"));
    }
    this.#requests.add(request);
    return this.#link.send(message)?.catch((error: unknown) => {
      this.#requests.remove(request);
      throw error;
    });
  }

  #forwardNotice(branch: Branch, message: Buffer, envelope: Envelope): Promise<void> | undefined {
    if (envelope.method === "notifications/cancelled") {
      const mark = cancelledMark(message);
      const request = mark && branch.requests.get(mark.name);
      if (!mark || !request) return undefined;
      this.#requests.abandon(request);
      return this.#link?.send(rename(message, mark, request.innerId));
    }
    if (envelope.method === "notifications/progress") {
      const token = progressMark(message)?.name;
      const isIts = [...this.#asked.values()].some(
        (asked) => token !== undefined && asked.branch === branch && asked.token === token,
      );
      if (!isIts) return undefined;
    }
    // The handshake is everyone's; what follows from any other notice is for its sender.
    if (envelope.method !== "notifications/initialized") this.#requests.note(branch);
    return this.#link?.send(message);
  }

  #forwardAnswer(branch: Branch, message: Buffer, { id = "" }: Envelope): Promise<void> | undefined {
    const asked = this.#asked.get(id);
    if (asked?.branch !== branch) return undefined;
    this.#asked.delete(id);
    this.#requests.note(branch);
    return this.#link?.send(message)?.catch((error: unknown) => {
      this.#asked.set(id, asked);
      throw error;
    });
  }

  #read(message: Buffer): void {
    if (this.#end !== undefined) return;
    if (this.#link === undefined) {
      if (this.#early.length < MAX_EARLY) this.#early.push(message);
      return;
    }
    const envelope = scanMessage(message);
    if (typeof envelope === "string") {
      this.#parts.log.debug({ problem: envelope }, "The server sent what is no message; it is dropped");
    } else if (envelope.kind === "response") {
      this.#readAnswer(message, envelope);
    } else if (envelope.method === "ping" && envelope.kind === "request") {
      this.tell(Buffer.from(`{"jsonrpc":"2.0","id":${envelope.id},"result":{}}`));
    } else if (!this.#readMarked(message, envelope)) {
      this.rules.fromServer(message, envelope);
    }
  }

  #readAnswer(message: Buffer, envelope: Envelope): void {
    const { id = "", failed } = envelope;
    const request = this.#requests.settle(id);
    if (request === undefined) return;
    const { branch, onAnswer, key } = request;
    if (branch === undefined) return request.onOwnAnswer?.(message, failed);
    const answer = renameAnswer(message, request.ownId, idOf(envelope));
    if (onAnswer !== undefined) return branch.deliver(onAnswer(answer, failed, request));
    const idEnd = envelope.idStart + Buffer.byteLength(request.ownId);
    // Where a second place was renamed too, neither may stand where it stood.
    const isMoved = answer.length - message.length !== idEnd - envelope.idEnd;
    branch.deliver(answer, isMoved ? undefined : { ...envelope, id: key, idEnd });
  }

  /** Whether the message names a request, and is thereby dealt with. */
  #readMarked(message: Buffer, envelope: Envelope): boolean {
    if (envelope.method === "notifications/progress") {
      const mark = progressMark(message);
      if (mark === undefined) return true;
      const request = this.#requests.ofToken(mark.name);
      if (request?.ownToken !== undefined) request.branch?.deliver(rename(message, mark, request.ownToken));
      return true;
    }
    if (envelope.method === "notifications/cancelled") {
      const id = cancelledMark(message)?.name ?? "";
      this.#asked.get(id)?.branch.deliver(message);
      this.#asked.delete(id);
      return true;
    }
    const mark = subscriptionMark(message, envelope);
    if (mark === undefined) return false;
    const request = this.#requests.get(mark.name);
    request?.branch?.deliver(rename(message, mark, request.ownId));
    return true;
  }
}
