import { openAudit } from "./audit/audit.ts";
import { auditCommand } from "./audit/command.ts";
import type { CliParts, NamedStore } from "./cli/parts.ts";
import { runCommand } from "./cli/run.ts";
import { loadStoreConfig } from "./config.ts";
import { ConfigError } from "./errors.ts";
import type { Events, GatewayEvent } from "./events.ts";
import { keysCommand } from "./keys/command.ts";
import { scopeProblem } from "./key-scopes.ts";
import type { Log } from "./log.ts";
import { openArchive } from "./open-store.ts";
import { labelOf, readStoreUrl } from "./session-store/store-url.ts";
import { switchOver } from "./session-store/switch.ts";
import { KEY_PREFIX, KEY_PREFIX_WORDS } from "./settings.ts";

export interface CommandsPlace {
  stdout: CliParts["stdout"];
  stderr: CliParts["stderr"];
  env: NodeJS.ProcessEnv;
  /** Aborts at Ctrl-C. */
  signal: AbortSignal;
  log: Log;
  version: string;
}

/** Batches are large, and nobody's request waits for them. */
const BATCH_DEADLINE_MS = 10_000;
const AUDIT_BYTES = 64 * 1024 * 1024;

/** Runs one command of an operator, and records what it did. Answers the exit code; never throws. */
export function runOperatorCommand(args: string[], place: CommandsPlace): Promise<number> {
  return withAudit(place, (events) => runCommand(args, commandParts(place, events)));
}

/** What operators' commands work with, from the process's own environment. */
function commandParts(place: CommandsPlace, events: Events): CliParts {
  const { stdout, stderr, env, log } = place;
  return {
    ...place,
    events,
    now: Date.now,
    readStore: (url, flag) => readStore(env, url, flag),
    openArchive: (target, { prefix = prefixOf(env), mayWrite }) =>
      openArchive(target, { prefix: checkedPrefix(prefix), deadlineMs: BATCH_DEADLINE_MS, log, mayWrite }),
    switchOver,
    commands: {
      keys: (args) => keysCommand(args, { stdout, stderr, env, scopeProblem, events, now: Date.now }),
      audit: (args) => auditCommand(args, { stdout, stderr, env }),
    },
  };
}

/**
 * Lends `work` a place to tell of an operator's actions. They are recorded beside the gateway's own audit file, which the
 * gateway holds, once the work is done; with no audit file they are not.
 */
async function withAudit<T>(
  { env, log, stderr }: CommandsPlace,
  work: (events: Events) => Promise<T>,
): Promise<T> {
  const done: GatewayEvent[] = [];
  try {
    return await work({ emit: (event) => void done.push(event) });
  } finally {
    const { AUDIT_LOG: path } = env;
    const isKept = path !== undefined && path !== "" && path !== "stdout";
    if (isKept && done.length > 0) {
      const own = `${path.replaceAll("{instance}", "all")}.operator`;
      // It is done already, and cannot be taken back.
      await record(own, done, log).catch((error: unknown) => {
        const words = error instanceof ConfigError ? error.problems.join(" ") : "it cannot be written.";
        stderr.write(`This was done, and is not in the audit log: ${words}\n`);
      });
    }
  }
}

async function record(path: string, events: readonly GatewayEvent[], log: Log): Promise<void> {
  const audit = await openAudit({ path, maxBytes: AUDIT_BYTES, files: 0, instanceId: "cli", log });
  for (const event of events) audit.events.emit(event);
  await audit.close();
}

function readStore(env: NodeJS.ProcessEnv, url: string | undefined, flag: string): NamedStore {
  const { REDIS_CA_FILE: caFile } = env;
  const target =
    url === undefined
      ? loadStoreConfig(env).target
      : readStoreUrl(url, { name: flag, caFile: caFile || undefined });
  return { target, label: labelOf(target) };
}

/** The gateway's own rule: what is written without a prefix, or under a pattern, no gateway finds. */
function checkedPrefix(prefix: string): string {
  if (KEY_PREFIX.test(prefix)) return prefix;
  throw new ConfigError([`The prefix ${KEY_PREFIX_WORDS}`]);
}

const prefixOf = (env: NodeJS.ProcessEnv): string => env["REDIS_KEY_PREFIX"] ?? env["REDIS_PREFIX"] ?? "mcp:";
