import { GatewayError } from "../errors.ts";
import { hasCapability } from "./aggregate-capabilities.ts";
import type { Member } from "./aggregate-member.ts";
import { withMembers } from "./modern-members.ts";

const INITIALIZED = Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}');
/** What is remembered for a server that is started again is small; further subscriptions are not. */
const MAX_SUBSCRIPTIONS = 100;
const MAX_URI_LENGTH = 2048;
const MAX_LEVEL_BYTES = 1024;

/** What the client has told about itself, for every member that comes later. */
export class Told {
  /** The client's `initialize`. */
  initialize: Buffer | undefined;
  /** The version that the client was answered. */
  version: string | undefined;
  /** Whether its `initialize` was answered, and it may go on. */
  isAnswered = false;
  isInitialized = false;
  #logLevel: Buffer | undefined;
  /** Who was asked to tell of changes of a resource. */
  readonly #subscriptions = new Map<string, string>();

  noteLogLevel(message: Buffer): void {
    if (message.length <= MAX_LEVEL_BYTES) this.#logLevel = message;
  }

  noteSubscription(uri: string, server: string): void {
    if (uri.length <= MAX_URI_LENGTH && this.#subscriptions.size < MAX_SUBSCRIPTIONS)
      this.#subscriptions.set(uri, server);
  }

  /** Whom to ask to end a subscription; it is forgotten. */
  takeSubscription(uri: string): string | undefined {
    const server = this.#subscriptions.get(uri);
    this.#subscriptions.delete(uri);
    return server;
  }

  /** Tells a member all of it. Rejects when the member refuses, ends, or the time is over. */
  async introduce(member: Member, nextId: () => string, signal: AbortSignal): Promise<void> {
    const mine = this.initialize as Buffer;
    // Those that come later must speak the version that the client was answered.
    const initialize =
      this.version === undefined
        ? mine
        : withMembers(mine, ["params"], { protocolVersion: JSON.stringify(this.version) });
    const { message, failed } = await member.question(initialize, signal);
    if (failed) {
      member.refusal = message;
      throw new GatewayError("upstream_refused");
    }
    member.introduction = message;
    if (!this.isInitialized) return;
    member.tell(INITIALIZED);
    if (this.#logLevel !== undefined && hasCapability(member, "logging")) {
      const params = this.#logLevel;
      member.tell(withMembers(params, [], { id: nextId() }));
    }
    for (const [uri, server] of this.#subscriptions) {
      if (server !== member.name) continue;
      const params = JSON.stringify({ uri });
      member.tell(
        Buffer.from(`{"jsonrpc":"2.0","id":${nextId()},"method":"resources/subscribe","params":${params}}`),
      );
    }
  }
}
