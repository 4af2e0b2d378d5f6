import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { type Envelope, errorResponse } from "../protocol/json-rpc.ts";
import { GATEWAY_META, META, MODERN_VERSION } from "../protocol/modern-terms.ts";
import type { Branch } from "./mux-branch.ts";
import { cancelledMark, stringOf } from "./mux-marks.ts";
import type { TrunkRules } from "./mux-rules.ts";
import type { Trunk } from "./mux-trunk.ts";
import { createMux } from "./mux.ts";
import type { Upstream } from "./upstream.ts";

export interface StatelessOptions {
  /** After so long without requests the server is closed, in milliseconds. 0 means never. */
  idleMs: number;
  /** How long the server may take to say which versions it speaks, its start included, in milliseconds. Default 30,000. */
  probeMs?: number;
  log: Log;
}

const CLAIM = JSON.stringify(GATEWAY_META);
const DISCOVER = Buffer.from(
  `{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{"_meta":${CLAIM}}}`,
);
/** A server that did not answer in time may have been slow to start; it is asked again after this. */
const SILENCE_MS = 300_000;

/**
 * The requests of the 2026-07-28 era, all on one link of `inner`. Before the first, the server is asked whether it
 * speaks that era; when it does not, `open` rejects with `upstream_era` from then on. Closing a link before its answer
 * cancels the request.
 *
 * Log messages name no request: one is delivered when only one request that asked for them can be meant, else to nobody.
 * For a minute after its answer one can be meant still, so that nothing of it comes to another client (`LinkEvents.owner`).
 */
export function createStatelessUpstream(inner: Upstream, options: StatelessOptions): Upstream {
  const { idleMs, probeMs = 30_000, log } = options;
  let isSpoken: boolean | undefined;
  let silentUntil = 0;

  async function begin(trunk: Trunk): Promise<void> {
    if (isSpoken) return;
    const answer = await discover(trunk, probeMs);
    if (answer === "silence") silentUntil = performance.now() + SILENCE_MS;
    else isSpoken = answer;
    log.info(
      { server: inner.name, era: isSpoken ? MODERN_VERSION : "legacy" },
      "The server was asked for its era",
    );
    if (!isSpoken) throw new GatewayError("upstream_era");
  }

  const mux = createMux(inner, { idleMs, log, createRules: (trunk) => rulesOf(trunk, () => begin(trunk)) });
  return {
    name: inner.name,
    get isFull() {
      return mux.isFull;
    },
    async open(events, signal) {
      signal.throwIfAborted();
      if (isSpoken === false || performance.now() < silentUntil) throw new GatewayError("upstream_era");
      return mux.open(events, signal);
    },
    close: () => mux.close(),
  };
}

/** Whether the server speaks the era. Some end when the first message is not what they expect: that is silence too. */
function discover(trunk: Trunk, probeMs: number): Promise<boolean | "silence"> {
  return new Promise((resolve) => {
    const settle = (answer: boolean | "silence"): void => {
      clearTimeout(timer);
      resolve(answer);
    };
    const timer = setTimeout(() => settle("silence"), probeMs);
    trunk
      .ask(DISCOVER, (answer) =>
        settle(answer === undefined ? "silence" : versionsIn(answer).includes(MODERN_VERSION)),
      )
      ?.catch(() => settle("silence"));
  });
}

function versionsIn(answer: Buffer): unknown[] {
  const { result } = JSON.parse(answer.toString()) as { result?: { supportedVersions?: unknown } };
  return Array.isArray(result?.supportedVersions) ? result.supportedVersions : [];
}

function rulesOf(trunk: Trunk, begin: () => Promise<void>): TrunkRules {
  return {
    begin,
    cancel: cancelWithClaim,
    fromClient(branch, message, envelope) {
      // A server of both eras takes the first message that does not name this one for the beginning of the other, for good.
      if (stringOf(message, "params", "_meta", META.version) === undefined) {
        return answerUnclaimed(trunk, branch, message, envelope);
      }
      return trunk.forward(branch, message, envelope);
    },
    fromServer(message, envelope) {
      if (envelope.kind === "request") trunk.present(undefined, message, envelope);
      else if (envelope.method === "notifications/message") trunk.onlyBranchWithLogs()?.deliver(message);
    },
  };
}

const cancelWithClaim = (innerId: string): Buffer =>
  Buffer.from(
    `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${innerId},"_meta":${CLAIM}}}`,
  );

/** Nothing of it reaches the server, but a cancellation is made known. */
function answerUnclaimed(
  trunk: Trunk,
  branch: Branch,
  message: Buffer,
  { kind, id, method }: Envelope,
): undefined {
  if (kind === "request") {
    const words = `params._meta must have ${META.version}.`;
    branch.deliverSoon(errorResponse(id as string, -32602, words, "upstream_cannot"));
  } else if (method === "notifications/cancelled") {
    const request = branch.requests.get(cancelledMark(message)?.name ?? "");
    if (request) trunk.cancel(request);
  }
  return undefined;
}
