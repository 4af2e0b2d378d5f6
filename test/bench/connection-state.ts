import { readFileSync } from "node:fs";

const ESTABLISHED = "01";

/**
 * Whether the server at `serverPort` still has its side of the connection that a client opened from `clientPort`. Asked of
 * the kernel, since a client that does not read is told of no end.
 */
export function isHeldByServer(serverPort: number, clientPort: number): boolean {
  const server = addressOf(serverPort);
  const client = addressOf(clientPort);
  // A server on all addresses has its IPv4 clients in the other table, under mapped addresses.
  return ["/proc/net/tcp", "/proc/net/tcp6"].some((file) =>
    readFileSync(file, "utf8")
      .split("\n")
      .some((line) => {
        const [, own = "", peer = "", state] = line.trim().split(/\s+/);
        return own.endsWith(server) && peer.endsWith(client) && state === ESTABLISHED;
      }),
  );
}

function addressOf(port: number): string {
  return `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
}
