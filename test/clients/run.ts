import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { spawnGateway } from "../support/spawn-gateway.ts";
import { mcpProxy, mcpRemote, supergateway } from "./bridges.ts";
import { type Client, type KeyPlace, type Transport, type Way, wayTo } from "./client.ts";
import { gemini, inspector } from "./programs.ts";
import { sdkV1, sdkV2, sdkV2Auto } from "./sdk.ts";

// The clients that people use, against a running gateway before a server of both eras: by header and by query key, over
// HTTP+SSE and over Streamable HTTP.

const CLIENTS = [sdkV1, sdkV2, sdkV2Auto, inspector, gemini, mcpRemote, supergateway, mcpProxy];
const TRANSPORTS: Transport[] = ["sse", "http", "untyped"];
const KEYS: KeyPlace[] = ["header", "query"];
const SERVER = join(import.meta.dirname, "../fixtures/conformance-server.mjs");
const USE_MS = 90_000;

const HELP = `npm run test:clients -- [options]

  --only NAME        a client: ${CLIENTS.map(({ name }) => name).join(", ")}
  --transport NAME   ${TRANSPORTS.join(", ")}
`;

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    transport: { type: "string", multiple: true },
    help: { type: "boolean", default: false },
  },
});

const isWanted = (list: string[] | undefined, name: string) => list === undefined || list.includes(name);

/** What went wrong; undefined when nothing did. */
async function tryOut(client: Client, way: Way): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${USE_MS} ms`)), USE_MS);
  });
  try {
    await Promise.race([client.use(way), late]);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    clearTimeout(timer);
  }
}

async function main(): Promise<void> {
  const clients = CLIENTS.filter(({ name }) => isWanted(values.only, name));
  const transports = TRANSPORTS.filter((name) => isWanted(values.transport, name));
  if (clients.length === 0 || transports.length === 0) throw new Error(`nothing to run\n${HELP}`);
  const gateway = await spawnGateway({ command: [process.execPath, SERVER, "stdio"] });
  try {
    process.stdout.write("| client | transport | key | what it did | |\n| --- | --- | --- | --- | --- |\n");
    for (const client of clients) {
      for (const transport of transports) {
        if (transport === "untyped" && client.findsOut !== true) continue;
        for (const key of KEYS) {
          const failure = await tryOut(client, wayTo(gateway.url, transport, key));
          const verdict =
            failure === undefined
              ? "ok"
              : `**failed**: ${failure.replaceAll("\n", " ").replaceAll("|", "\\|")}`;
          const cells = [`${client.name} ${client.version}`, transport, key, client.does, verdict];
          process.stdout.write(`| ${cells.join(" | ")} |\n`);
          if (failure !== undefined) process.exitCode = 1;
        }
      }
    }
  } finally {
    await gateway.end();
  }
}

if (values.help) process.stdout.write(HELP);
else await main();
// A client that was given up may still hold a socket or a child open.
process.exit();
