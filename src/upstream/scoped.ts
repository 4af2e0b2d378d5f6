import { randomUUID } from "node:crypto";
import { FAULTS, GatewayError } from "../errors.ts";
import { type Envelope, errorResponse, scanMessage } from "../protocol/json-rpc.ts";
import { locate, type Span, splice } from "../protocol/splice.ts";
import { idOf, withMembers } from "./modern-members.ts";
import { emptyList, isCallOf, narrowIntroduction, narrowTools, narrowListen } from "./scoped-messages.ts";
import type { Link, LinkEvents, Upstream } from "./upstream.ts";

/** What may be used of one server, as `Scope` says it. */
export interface Allowed {
  /** Nothing is hidden then, and there is no need to look at anything. */
  readonly isWhole: boolean;
  mayCall(tool: string): boolean;
}

/** Requests whose answers are looked into, at once. */
const MAX_LOOKED_FOR = 1000;

/** What passes to a server of which some tools may be used, and no more: whatever is not named here is refused. */
const REQUESTS = new Set(["ping", "logging/setLevel"]);
const NOTIFICATIONS = new Set([
  "notifications/initialized",
  "notifications/progress",
  "notifications/roots/list_changed",
]);
/** What a server tells of things that may not be used. */
const HIDDEN = new Set([
  "notifications/prompts/list_changed",
  "notifications/resources/list_changed",
  "notifications/resources/updated",
  "notifications/tasks/status",
]);
const { rpcCode: REFUSED, message: REFUSAL } = FAULTS.tool_not_allowed;

/** A server as a caller sees it who may call only some of its tools. Nothing else of it is seen, called or guessed. */
export function scopeUpstream(inner: Upstream, allowed: Allowed): Upstream {
  if (allowed.isWhole) return inner;
  return {
    name: inner.name,
    get isFull() {
      return inner.isFull;
    },
    async open(events, signal) {
      const link = new ScopedLink(allowed, events);
      link.inner = await inner.open(
        { onMessage: (message) => link.hear(message), onEnd: (end) => link.ended(end) },
        signal,
      );
      return link;
    },
    close: () => inner.close(),
  };
}

/** A request whose answer must be looked into before the client sees it. */
interface LookedFor {
  /** Of the client's request, JSON text. */
  readonly id: string;
  readonly narrow: (answer: Buffer) => Buffer;
}

class ScopedLink implements Link {
  readonly #allowed: Allowed;
  readonly #events: LinkEvents;
  readonly #lookedFor = new Map<string, LookedFor>();
  readonly #prefix = `mcp-sse-gateway/${randomUUID()}/`;
  #count = 0;
  #isOver = false;
  inner!: Link;

  constructor(allowed: Allowed, events: LinkEvents) {
    this.#allowed = allowed;
    this.#events = events;
  }

  send(message: Buffer): Promise<void> | undefined {
    if (this.#isOver) return Promise.reject(new GatewayError("upstream_exited"));
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return undefined;
    switch (envelope.kind) {
      case "response":
        return this.inner.send(message);
      case "notification":
        return this.#notify(message, envelope.method as string);
      case "request":
        return this.#request(message, envelope);
    }
  }

  pause(): void {
    this.inner.pause();
  }

  resume(): void {
    this.inner.resume();
  }

  close(): Promise<void> {
    this.#isOver = true;
    return this.inner.close();
  }

  hear(message: Buffer): void {
    const envelope = scanMessage(message);
    // What cannot be read cannot be looked into, and the session would drop it too.
    if (typeof envelope === "string") return;
    if (envelope.kind === "notification" && HIDDEN.has(envelope.method as string)) return;
    if (envelope.kind !== "response") return this.#events.onMessage(message);
    const id = envelope.id as string;
    const looked = this.#lookedFor.get(id);
    if (looked === undefined) {
      // An answer that the client has taken back, to be forgotten with its contents.
      if (!id.startsWith(`"${this.#prefix}`)) this.#events.onMessage(message);
      return;
    }
    this.#lookedFor.delete(id);
    const answer = envelope.failed ? message : looked.narrow(message);
    this.#events.onMessage(splice(answer, [{ ...(locate(answer, ["id"]) as Span), text: looked.id }]));
  }

  ended(end: Parameters<LinkEvents["onEnd"]>[0]): void {
    this.#isOver = true;
    this.#events.onEnd(end);
  }

  #request(message: Buffer, { id, method }: Envelope): Promise<void> | undefined {
    switch (method) {
      case "initialize":
      case "server/discover":
        return this.#lookFor(message, id as string, narrowIntroduction);
      case "tools/list":
        return this.#lookFor(message, id as string, (answer) => narrowTools(answer, this.#mayCall));
      case "tools/call":
        return isCallOf(message, this.#mayCall) ? this.inner.send(message) : this.#refuse(id as string);
      case "subscriptions/listen": {
        const narrowed = narrowListen(message);
        return narrowed === undefined ? this.#refuse(id as string) : this.inner.send(narrowed);
      }
      default: {
        if (REQUESTS.has(method as string)) return this.inner.send(message);
        const empty = emptyList(message, id as string, method as string);
        return empty === undefined ? this.#refuse(id as string) : this.#answer(empty);
      }
    }
  }

  /**
   * Sends a request under an id of ours, so that its answer is known whatever the client does meanwhile: a client that
   * takes the request back and uses its id for another would else get an answer that nobody has looked into.
   */
  #lookFor(message: Buffer, id: string, narrow: LookedFor["narrow"]): Promise<void> | undefined {
    if (this.#lookedFor.size >= MAX_LOOKED_FOR) return Promise.reject(new GatewayError("upstream_busy"));
    const own = JSON.stringify(this.#prefix + (this.#count += 1));
    this.#lookedFor.set(own, { id, narrow });
    const sent = this.inner.send(withMembers(message, [], { id: own }));
    return sent?.catch((error: unknown) => {
      this.#lookedFor.delete(own);
      throw error;
    });
  }

  #notify(message: Buffer, method: string): Promise<void> | undefined {
    if (method === "notifications/cancelled") return this.inner.send(this.#cancelling(message));
    return NOTIFICATIONS.has(method) ? this.inner.send(message) : undefined;
  }

  #cancelling(message: Buffer): Buffer {
    const id = idOf(message, ["params", "requestId"]);
    for (const [own, looked] of this.#lookedFor) {
      if (looked.id !== id) continue;
      this.#lookedFor.delete(own);
      return withMembers(message, ["params"], { requestId: own });
    }
    return message;
  }

  #refuse(id: string): undefined {
    return this.#answer(errorResponse(id, REFUSED, REFUSAL, "tool_not_allowed"));
  }

  #answer(message: Buffer): undefined {
    queueMicrotask(() => {
      if (!this.#isOver) this.#events.onMessage(message);
    });
  }

  readonly #mayCall = (tool: string): boolean => this.#allowed.mayCall(tool);
}
