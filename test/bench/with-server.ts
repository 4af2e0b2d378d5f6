import { type Server, startTarget } from "./start-target.ts";
import type { Target } from "./target.ts";
import { interrupted } from "./with-load.ts";

interface Closable {
  close(): void;
}

const interruption = new Promise<never>((_, reject) => {
  interrupted.addEventListener("abort", () => reject(new Error("interrupted")), { once: true });
});
// It is awaited only while a server runs.
interruption.catch(() => undefined);

/**
 * Starts a fresh server for clients in the bench's own process, and ends it and them whatever happens.
 * @param run is given `keep`, which notes a client that is to be closed before the server.
 */
export async function withServer<Result>(
  target: Target,
  nodeOptions: readonly string[],
  run: (server: Server, keep: <Client extends Closable>(client: Client) => Client) => Promise<Result>,
): Promise<{ result: Result; leftovers: string[] }> {
  const server = await startTarget(target, nodeOptions);
  const clients: Closable[] = [];
  function keep<Client extends Closable>(client: Client): Client {
    clients.push(client);
    return client;
  }
  try {
    const result = await Promise.race([run(server, keep), interruption]);
    for (const client of clients) client.close();
    return { result, leftovers: await server.close() };
  } finally {
    for (const client of clients) client.close();
    await server.close();
  }
}
