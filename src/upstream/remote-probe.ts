import { GatewayError } from "../errors.ts";
import { scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import { GATEWAY_META, MODERN_VERSION } from "../protocol/modern-terms.ts";
import { locate, textAt } from "../protocol/splice.ts";
import type { RemoteHttp } from "./remote-http.ts";
import { repeatedHeaders } from "./remote-modern.ts";
import { openPost, Refusal } from "./remote-post.ts";

export type Era = "modern" | "legacy";

const PROBE_MS = 10_000;

const PROBE = Buffer.from(
  JSON.stringify({
    jsonrpc: "2.0",
    id: "mcp-sse-gateway/era",
    method: "server/discover",
    params: { _meta: GATEWAY_META },
  }),
);
const ENVELOPE = scanMessage(PROBE) as Envelope;

/**
 * Asks a server for its era. Rejects with a `Refusal` when nothing can be learned from the answer: our credentials were
 * refused, the server is not well, or there was no answer.
 */
export async function probeEra(http: RemoteHttp, maxMessageBytes: number): Promise<Era> {
  let timer: NodeJS.Timeout | undefined;
  let probe: ReturnType<typeof openPost> | undefined;
  const answered = new Promise<Buffer | undefined>((resolve) => {
    probe = openPost({
      http,
      message: PROBE,
      envelope: ENVELOPE,
      headers: repeatedHeaders(PROBE, ENVELOPE),
      maxMessageBytes,
      onWritten: () => undefined,
      onMessage: (message) => isAnswer(message) && resolve(message),
      onTooLarge: () => resolve(undefined),
      onEnd: () => resolve(undefined),
    });
    timer = setTimeout(() => probe?.exchange.abort(), PROBE_MS);
  });
  try {
    await probe?.taken;
    const answer = await answered;
    if (answer === undefined) throw new GatewayError("upstream_unreachable");
    return eraOf(answer);
  } catch (error) {
    if (!(error instanceof Refusal) || !isEvidence(error.status)) throw error;
    return error.answer === undefined ? "legacy" : eraOf(error.answer);
  } finally {
    clearTimeout(timer);
    probe?.exchange.abort();
  }
}

/** Of a server that wants other credentials, or is busy, nothing is learned. */
const isEvidence = (status: number): boolean =>
  status >= 400 && status < 500 && ![401, 403, 429].includes(status);

function isAnswer(message: Buffer): boolean {
  const envelope = scanMessage(message);
  return typeof envelope !== "string" && envelope.kind === "response" && envelope.id === ENVELOPE.id;
}

/** Only a server of the 2026-07-28 era lists its versions, refuses one by -32022, or knows -32020 and -32021. */
function eraOf(answer: Buffer): Era {
  const code = valueAt(answer, ["error", "code"]);
  if (code === -32020 || code === -32021) return "modern";
  const list = code === -32022 ? ["error", "data", "supported"] : ["result", "supportedVersions"];
  const versions = valueAt(answer, list);
  const speaks = (version: unknown) => typeof version === "string" && version >= MODERN_VERSION;
  return Array.isArray(versions) && versions.some(speaks) ? "modern" : "legacy";
}

function valueAt(message: Buffer, path: readonly string[]): unknown {
  const span = locate(message, path);
  return span === undefined ? undefined : JSON.parse(textAt(message, span));
}
