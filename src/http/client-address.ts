import type { IncomingMessage } from "node:http";

/** Whose word is believed: nobody's, Railway's edge, or that of so many proxies in front. */
export type TrustProxy = "off" | "railway" | number;

/**
 * The client's address, as far as it can be believed: the left end of X-Forwarded-For is the client's own invention,
 * so proxies are counted from the right.
 */
export function clientAddress(req: IncomingMessage, trust: TrustProxy): string {
  // IPv4 comes in IPv6's clothes on a dual-stack socket.
  const socketAddress = (req.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
  if (trust === "off") return socketAddress;
  if (trust === "railway") return plausible(req.headers["x-real-ip"] as string | undefined) ?? socketAddress;
  const forwarded = String(req.headers["x-forwarded-for"] ?? "").split(",");
  return plausible(forwarded.at(-trust)?.trim()) ?? socketAddress;
}

function plausible(address: string | undefined): string | undefined {
  return address !== undefined && /^[0-9a-fA-F:.]{2,45}$/.test(address) ? address : undefined;
}
