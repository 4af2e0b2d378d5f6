import { onTestFinished } from "vitest";
import { connectWatched, type WatchedClient, type WatchOptions } from "../support/cluster-client.ts";
import { startCluster, type Cluster, type ClusterOptions } from "../support/cluster.ts";
import { createRandom } from "../support/front-proxy-parts.ts";
import { judge, type Judgement, type Promises } from "../support/history-checker.ts";
import { History } from "../support/history.ts";

/** What a story plays on: a cluster, its clients and their history. All of it ends with the test. */
export interface Stage {
  cluster: Cluster;
  history: History;
  random: () => number;
  /** Connects clients, of both SDKs by turns. */
  connect(count: number, options?: Partial<WatchOptions>): Promise<WatchedClient[]>;
  /** Judges all that happened, and prints the summary. */
  judge(promises?: Promises): Judgement;
}

/** Clients that connect at once: a process is started for each. */
const AT_ONCE = 8;

export async function setStage(options: ClusterOptions): Promise<Stage> {
  const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 32));
  process.stderr.write(`story plays with SEED=${seed}\n`);
  const cluster = await startCluster({ ...options, front: { seed, ...options.front } });
  onTestFinished(() => cluster.close(), 60_000);
  const history = new History();
  let connected = 0;
  return {
    cluster,
    history,
    random: createRandom(seed + 1),
    connect: async (count, more) => {
      const clients: WatchedClient[] = [];
      const wanted = Array.from({ length: count }, () => (connected += 1));
      const line = async () => {
        for (let number = wanted.shift(); number !== undefined; number = wanted.shift()) {
          const name = `client-${number}`;
          const version = number % 2 === 0 ? "v2" : "v1";
          const client = await connectWatched({
            version,
            baseUrl: cluster.front.url,
            history,
            name,
            ...more,
          });
          onTestFinished(() => client.close());
          clients.push(client);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, line));
      return clients;
    },
    judge: (promises) => {
      const judgement = judge(history, cluster.ledger(), { mayRepeatAnswers: true, ...promises });
      const found = judgement.violations();
      process.stderr.write(`${judgement.table()}\n${found.slice(0, 20).join("\n")}\n`);
      if (found.length > 0 && process.env["FAULTS_LOG"]) writeLogs(cluster);
      return judgement;
    },
  };
}

/** What the instances said, for whoever looks for the cause of a violation. */
function writeLogs({ gateways }: Cluster): void {
  for (const gateway of gateways)
    process.stderr.write(`--- ${gateway.instanceId}\n${gateway.stdout().slice(-20_000)}`);
}
