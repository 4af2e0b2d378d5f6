import { resolve4, resolve6 } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

export interface AddressOptions {
  /** What the operator says. */
  url?: string | undefined;
  /** What the gateway listens on; undefined: all interfaces. */
  host: string | undefined;
  port: number;
  /** A name that stands for all instances. */
  privateDomain?: string | undefined;
  /** How long to look for the name: a private network may come up after the process. */
  waitMs?: number;
  /** Ends the looking. */
  signal?: AbortSignal;
  /** Addresses that a name stands for; the system's resolver by default. */
  lookUp?: (domain: string) => Promise<readonly string[]>;
  /** Addresses of this machine. */
  ownAddresses?: () => readonly string[];
}

const WAIT_MS = 10_000;
const PAUSE_MS = 500;

// Link-local addresses are left out: cloud providers tell secrets at one of them.
const PRIVATE = new BlockList();
for (const [net, prefix] of [
  ["127.0.0.0", 8],
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["100.64.0.0", 10],
] as const) {
  PRIVATE.addSubnet(net, prefix, "ipv4");
}
PRIVATE.addAddress("::1", "ipv6");
PRIVATE.addSubnet("fc00::", 7, "ipv6");

function isPrivate(host: string): boolean {
  const version = isIP(host);
  return version !== 0 && PRIVATE.check(host, version === 4 ? "ipv4" : "ipv6");
}

const bare = (hostname: string): string => hostname.replace(/^\[|\]$/g, "");

const urlOf = (ip: string, port: number): string => `http://${ip.includes(":") ? `[${ip}]` : ip}:${port}`;

/**
 * The origin to call for an address out of a lease, or undefined when it must not be called: whoever can write to the
 * store writes leases too. Only plain `http:` to a private or local address, or to one of the hosts in `allow`.
 */
export function callableOrigin(address: string, allow: readonly string[]): string | undefined {
  if (!URL.canParse(address)) return undefined;
  const { protocol, username, password, pathname, search, hash, hostname, origin } = new URL(address);
  const isPlain = `${username}${password}${search}${hash}` === "" && pathname === "/";
  if (protocol !== "http:" || !isPlain) return undefined;
  const isListed = allow.some((host) => bare(host.toLowerCase()) === bare(hostname));
  return isListed || isPrivate(bare(hostname)) ? origin : undefined;
}

/** How many addresses are remembered. */
const MAX_ADDRESSES = 1000;

/** `callableOrigin` that remembers what it said of an address: it is asked for each message. */
export function createOriginCheck(allow: readonly string[]): (address: string) => string | undefined {
  const known = new Map<string, string | undefined>();
  return (address) => {
    if (known.has(address)) return known.get(address);
    if (known.size >= MAX_ADDRESSES) known.clear();
    const origin = callableOrigin(address, allow);
    known.set(address, origin);
    return origin;
  };
}

/**
 * Where other instances may reach this one: what the operator says, else the private or local address that the gateway
 * listens on, else the address that this machine has among those of `privateDomain`. Undefined when there is none.
 * Whether it leads here is not known until `HttpRelay.prove`.
 */
export async function findAddress(options: AddressOptions): Promise<string | undefined> {
  const { url, host, port, privateDomain, waitMs = WAIT_MS, signal } = options;
  if (url !== undefined) return url;
  if (host !== undefined && isPrivate(bare(host))) return urlOf(bare(host), port);
  const listensOnAll = host === undefined || ["::", "0.0.0.0"].includes(bare(host));
  if (privateDomain === undefined || !listensOnAll) return undefined;
  const { lookUp = lookUpBoth, ownAddresses = addressesOfThisMachine } = options;
  const lastLook = performance.now() + waitMs;
  for (;;) {
    const named = new Set((await lookUp(privateDomain)).map(spelled));
    const own = ownAddresses().find((ip) => isPrivate(ip) && named.has(spelled(ip)));
    if (own !== undefined) return urlOf(own, port);
    if (performance.now() >= lastLook || signal?.aborted === true) return undefined;
    await sleep(PAUSE_MS, undefined, { ref: false, ...(signal && { signal }) }).catch(() => undefined);
  }
}

/** One spelling for each address, of which IPv6 knows many. */
const spelled = (ip: string): string => (isIP(ip) === 6 ? new URL(`http://[${ip}]`).hostname : ip);

async function lookUpBoth(domain: string): Promise<string[]> {
  const found = await Promise.allSettled([resolve6(domain), resolve4(domain)]);
  return found.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
}

const addressesOfThisMachine = (): string[] =>
  Object.values(networkInterfaces()).flatMap((addresses = []) => addresses.map(({ address }) => address));
