import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { get, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { onTestFinished } from "vitest";
import type { CallerEntry, KeyEntry } from "../../src/keys/key-entries.ts";
import { printKeysFile, readKeysFile } from "../../src/keys/keys-file.ts";
import { mintKey } from "../../src/keys/mint.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { runProgram, spawnGateway, type LogLine, type SpawnedGateway } from "../support/spawn-gateway.ts";

/** What `keys create` and `keys rotate` print. */
export interface MadeKey {
  key: string;
  id: string;
}

/** Gateways with one keys file and one Redis, and the command line that changes the file. */
export interface KeysStage {
  readonly gateways: readonly SpawnedGateway[];
  readonly redis: RedisUnderTest;
  readonly db: Redis;
  /** One more gateway, which the test has to end. */
  spawn(): Promise<SpawnedGateway>;
  /** Runs `keys ...`; rejects when that fails. Answers what it prints on standard output. */
  keys(...args: string[]): Promise<string>;
  /** Makes a key of a caller, and waits until all gateways have it. */
  create(caller: string, ...more: string[]): Promise<MadeKey>;
  rotate(caller: string, ...more: string[]): Promise<MadeKey>;
  /** Writes one more key of a caller into the file by hand, which is quicker, and waits until all gateways have it. */
  add(caller: string, more?: Partial<KeyEntry>): Promise<MadeKey>;
  /** Writes a new caller into the file by hand, with one key, and waits until all gateways have that. */
  write(caller: Omit<CallerEntry, "keys">, more?: Partial<KeyEntry>): Promise<MadeKey>;
  /** Puts another file in the place of the keys file. */
  put(text: string): Promise<void>;
  /** Changes the callers of the file. */
  edit(change: (callers: CallerEntry[]) => void): Promise<void>;
  /** Puts a file with these callers in its place. */
  putCallers(callers: readonly CallerEntry[]): Promise<void>;
  /** Resolves when every gateway has logged a line, past or to come, that fits. */
  everywhere(fits: (line: LogLine) => boolean): Promise<void>;
  /** The audit records of one gateway so far. */
  audit(gateway: SpawnedGateway): Promise<LogLine[]>;
  auditText(gateway: SpawnedGateway): Promise<string>;
  auditFile(gateway: SpawnedGateway): string;
  /** Everything that commands have written besides the keys that they made. */
  readonly said: string[];
  /** Runs another command of the program. */
  run(...args: string[]): ReturnType<typeof runProgram>;
  close(): Promise<void>;
}

/** The line that tells of a key, of those that were `added`, `removed` or `changed` with the file. */
export const has =
  (list: "added" | "removed" | "changed", { id }: Pick<MadeKey, "id">) =>
  (line: LogLine): boolean =>
    line["message"] === "keys file read again" && (line[list] as string[]).includes(id);

/** Starts `count` gateways over one keys file, which has one key of the caller `keeper`. */
export async function startKeysStage(count: number, env: Record<string, string> = {}): Promise<KeysStage> {
  const directory = await mkdtemp(join(tmpdir(), "keys-e2e-"));
  const file = join(directory, "keys.json");
  const redis = await startRedis(["--loglevel", "warning"]);
  const db = new Redis(redis.url);
  const said: string[] = [];
  const settings = { MCP_API_KEYS_FILE: file, AUDIT_LOG: join(directory, "{instance}.audit") };
  const gateways: SpawnedGateway[] = [];

  const run = (...args: string[]) => runProgram({ env: settings, args });
  async function keys(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await run("keys", ...args);
    said.push(stderr);
    if (code !== 0) throw new Error(`keys ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }
  async function everywhere(fits: (line: LogLine) => boolean): Promise<void> {
    await Promise.all(gateways.map((gateway) => gateway.logged(fits)));
  }
  async function made(...args: string[]): Promise<MadeKey> {
    const key = JSON.parse(await keys(...args, "--json")) as MadeKey;
    await everywhere(has("added", key));
    return key;
  }

  async function put(text: string): Promise<void> {
    await writeFile(`${file}.new`, text, { mode: 0o600 });
    await rename(`${file}.new`, file);
  }
  async function edit(change: (callers: CallerEntry[]) => void): Promise<void> {
    const { callers } = readKeysFile(await readFile(file, "utf8"));
    change(callers);
    await put(printKeysFile(callers));
  }
  async function add(name: string, more: Partial<KeyEntry> = {}): Promise<MadeKey> {
    const { key, id, hash } = mintKey();
    const entry = { id, hash, createdAt: new Date().toISOString(), ...more };
    await edit((callers) => void callers.find((caller) => caller.name === name)?.keys.push(entry));
    await everywhere(has("added", { id }));
    return { key, id };
  }
  const spawn = () =>
    spawnGateway({
      env: {
        ...settings,
        REDIS_URL: redis.url,
        SESSION_RELAY: "on",
        SESSION_RELAY_DRIVER: "http",
        TRUST_PROXY: "1",
        METRICS_TOKEN: "metrics-token-of-the-test",
        STORE_TIMEOUT_MS: "500",
        ...env,
      },
    });

  await keys("create", "--caller", "keeper", "--json");
  gateways.push(...(await Promise.all(Array.from({ length: count }, spawn))));
  const auditFile = ({ instanceId }: SpawnedGateway) => join(directory, `${instanceId}.audit`);
  const auditText = (gateway: SpawnedGateway) => readFile(auditFile(gateway), "utf8");
  return {
    gateways,
    redis,
    db,
    spawn,
    keys,
    create: (caller, ...more) => made("create", "--caller", caller, ...more),
    rotate: (caller, ...more) => made("rotate", "--caller", caller, ...more),
    everywhere,
    put,
    edit,
    putCallers: (callers) => put(printKeysFile(callers)),
    add,
    write: async (caller, more) => {
      await edit((callers) => callers.push({ ...caller, keys: [] }));
      return add(caller.name, more);
    },
    auditFile,
    auditText,
    audit: async (gateway) =>
      (await auditText(gateway))
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as LogLine),
    said,
    run,
    close: async () => {
      await Promise.all(gateways.map((gateway) => gateway.end()));
      await db.quit();
      await redis.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

let clients = 0;
/** Headers that make a client one of its own address: who shows a wrong key often is slowed down. */
export const fromAnywhere = (): Record<string, string> => {
  clients += 1;
  return { "x-forwarded-for": `10.1.${clients >> 8}.${clients & 255}` };
};

/** The answer to a `GET /mcp/sse`, whatever it is. */
export interface Knock {
  status: number;
  headers: IncomingHttpHeaders;
  /** What has come so far. */
  body(): string;
  /** Resolves with all of it once it is over, whoever ended it. */
  ended: Promise<string>;
  cut(): void;
}

/** Asks for a stream, on a connection of its own that is cut with the test; it may be refused. */
export async function knock(
  baseUrl: string,
  key: string,
  { path = "/mcp/sse", headers = {} }: { path?: string; headers?: Record<string, string> } = {},
): Promise<Knock> {
  const asked = get(`${baseUrl}${path}`, {
    headers: { "x-api-key": key, accept: "text/event-stream", ...fromAnywhere(), ...headers },
    agent: false,
  });
  onTestFinished(() => void asked.destroy());
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    asked.once("response", resolve).once("error", reject);
  });
  asked.on("error", () => undefined);
  let text = "";
  response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const ended = new Promise<string>((resolve) => {
    response.on("close", () => resolve(text)).on("error", () => resolve(text));
  });
  const { statusCode = 0, headers: told } = response;
  return { status: statusCode, headers: told, body: () => text, ended, cut: () => void asked.destroy() };
}
