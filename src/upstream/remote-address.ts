import { lookup, type LookupAddress, type LookupOptions } from "node:dns";
import { BlockList, isIP } from "node:net";

/**
 * Addresses that no MCP server has and where clouds keep their machines' credentials. Loopback and private addresses
 * are no part of it: the URL is the operator's own.
 */
const forbidden = new BlockList();
forbidden.addSubnet("169.254.0.0", 16, "ipv4");
forbidden.addAddress("100.100.100.200", "ipv4");
forbidden.addSubnet("fe80::", 10, "ipv6");
forbidden.addAddress("fd00:ec2::254", "ipv6");
// The same IPv4 addresses inside IPv6: NAT64, 6to4 and the old compatible form. BlockList knows the mapped form itself.
forbidden.addSubnet("64:ff9b::a9fe:0", 112, "ipv6");
forbidden.addAddress("64:ff9b::6464:64c8", "ipv6");
forbidden.addSubnet("2002:a9fe::", 32, "ipv6");
forbidden.addSubnet("2002:6464:64c8::", 48, "ipv6");
forbidden.addSubnet("::a9fe:0", 112, "ipv6");
forbidden.addAddress("::6464:64c8", "ipv6");

/** Whether this is an IP address that is never connected to. A name is not. */
export function isForbidden(address: string): boolean {
  const bare = address.replace(/^\[|\]$|%.*$/g, "");
  const family = isIP(bare);
  return family !== 0 && forbidden.check(bare, family === 6 ? "ipv6" : "ipv4");
}

type Done = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void;

/**
 * As `dns.lookup`, but fails with `EADDRFORBIDDEN` when any of the name's addresses is forbidden. What is checked here
 * is what is connected to: a name that changes between two look-ups gains nothing.
 */
export function allowedLookup(hostname: string, options: LookupOptions, done: Done): void {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return done(error, []);
    if (addresses.some(({ address }) => isForbidden(address))) return done(forbiddenError(), []);
    if (options.all === true) return done(null, addresses);
    const [first] = addresses as [LookupAddress];
    done(null, first.address, first.family);
  });
}

/** Says nothing of the address. */
export function forbiddenError(): NodeJS.ErrnoException {
  return Object.assign(new Error("the address is link-local or a metadata service"), {
    code: "EADDRFORBIDDEN",
  });
}
