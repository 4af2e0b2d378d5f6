import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";

export interface OriginRules {
  /** Exact web origins whose pages may call us. */
  allowedOrigins: readonly string[];
  /** Host names without port that requests may name; empty: any. */
  allowedHosts: readonly string[];
}

/**
 * Refuses what a browser may be tricked into sending: requests from pages of other sites (Origin), and requests for a
 * foreign name that was made to point here (Host, DNS rebinding). Programs send no Origin.
 */
export function createOriginGuard({
  allowedOrigins,
  allowedHosts,
}: OriginRules): (req: IncomingMessage) => void {
  const origins = new Set(allowedOrigins);
  const hosts = new Set(allowedHosts.map((host) => host.toLowerCase()));
  return ({ headers }) => {
    if (headers.origin !== undefined && !origins.has(headers.origin))
      throw new GatewayError("origin_not_allowed");
    const host = hostName(headers.host ?? "");
    if (host === undefined) throw new GatewayError("bad_host");
    if (hosts.size > 0 && !hosts.has(host)) throw new GatewayError("host_not_allowed");
  };
}

/** The name in a Host header, without its port; undefined when the header is not of that form. */
export function hostName(header: string): string | undefined {
  return /^((?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/.exec(header.toLowerCase())?.[1];
}
