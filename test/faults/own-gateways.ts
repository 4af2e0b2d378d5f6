import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { eventually } from "../support/eventually.ts";
import { judge, type Judgement, type Promises } from "../support/history-checker.ts";
import { readLedger } from "../support/history.ts";
import { spawnProgram, type SpawnedGateway } from "../support/spawn-gateway.ts";
import { KEY, OTHER_KEY } from "../support/start-gateway.ts";
import { setStage, type Stage } from "./stage.ts";

/** A stage whose story starts every gateway itself, with settings and a port of its choice. */
export interface OwnStage extends Pick<Stage, "history" | "random" | "connect"> {
  front: Stage["cluster"]["front"];
  /** For whatever the story writes; removed at its end. */
  directory: string;
  /** Starts one before the ledger server; resolves when it is ready. */
  start(env: Record<string, string>, port?: number): Promise<SpawnedGateway>;
  judge(promises?: Promises): Judgement;
}

const LEDGER_SERVER = fileURLToPath(new URL("../fixtures/ledger-server.mjs", import.meta.url));
const READY_MS = 20_000;

export async function setOwnStage(front: Parameters<typeof setStage>[0]["front"] = {}): Promise<OwnStage> {
  const directory = await mkdtemp(join(tmpdir(), "story-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const { cluster, history, random, connect } = await setStage({ instances: 0, store: "memory", front });
  const ledgerFile = join(directory, "ledger.jsonl");
  const settings = {
    HOST: "127.0.0.1",
    MCP_API_KEY: KEY,
    MCP_API_KEYS: `other=${OTHER_KEY}`,
    DRAIN_SECONDS: "1",
    LEDGER_FILE: ledgerFile,
    MCP_SERVER_ENV: "LEDGER_FILE",
    TRUST_PROXY: "1",
    MAX_SESSIONS_PER_KEY: "1000",
    MAX_CHILDREN: "1000",
  };
  return {
    history,
    random,
    connect,
    front: cluster.front,
    directory,
    start: async (env, wanted = 0) => {
      const args = ["--port", `${wanted}`, "--", process.execPath, LEDGER_SERVER];
      const program = spawnProgram({ env: { ...settings, ...env }, args });
      onTestFinished(() => program.end());
      const { port, instance } = await program.logged(({ message }) => message === "gateway listening");
      const url = `http://127.0.0.1:${Number(port)}`;
      await eventually(async () => (await fetch(`${url}/health/ready`)).status === 200, READY_MS);
      return { ...program, url, port: Number(port), instanceId: String(instance) };
    },
    judge: (promises) => {
      const judgement = judge(history, readLedger(ledgerFile), { mayRepeatAnswers: true, ...promises });
      const found = judgement.violations();
      process.stderr.write(`${judgement.table()}\n${found.slice(0, 20).join("\n")}\n`);
      return judgement;
    },
  };
}
