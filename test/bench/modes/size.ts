import { REASONS } from "../../ship/reasons.ts";
import { figure, table } from "../figures.ts";
import { type GatewaySize, measureGateway } from "../install-gateway.ts";
import { type InstallSize, readInstall } from "../install-size.ts";
import type { Mode, Run } from "../mode.ts";
import { folderOf, PEER_NAMES } from "../peers/install.ts";
import type { Target } from "../target.ts";

export interface SizeRun extends Run {
  size: InstallSize | GatewaySize;
}

/** What has to be installed for a target to run. */
export const SIZE: Mode<SizeRun> = {
  name: "size",
  about: "what is installed with the package, and why",
  targets: ["gateway", "sdk-sse", "supergateway-sse", "mcp-proxy-sse", "mcp-hub-sse"],
  defaults: { rounds: 1 },
  run: runSize,
  table: sizeTable,
};

async function runSize({ name }: Target, round: number): Promise<SizeRun> {
  const peer = PEER_NAMES.find((candidate) => name.startsWith(`${candidate}-`));
  if (peer === undefined && !name.startsWith("gateway")) throw new Error("it is no package");
  const size = peer === undefined ? await measureGateway() : readInstall(folderOf(peer));
  return { target: peer ?? "gateway", round, leftovers: [], size };
}

export function sizeTable(runs: readonly SizeRun[]): string {
  const sizes = table(
    ["package", "direct dependencies", "all", "files", "MB", "MB on disk"],
    runs.map(({ target, size }) => [
      target,
      String(size.direct.length),
      String(size.packages),
      figure(size.files),
      figure(size.bytes / 1e6),
      figure(size.diskBytes / 1e6),
    ]),
  );
  const own = runs.map(({ size }) => size).find((size) => "how" in size);
  return own === undefined ? sizes : `${sizes}\nThe gateway: ${own.how}.\n\n${reasonsTable(own)}`;
}

function reasonsTable({ direct, directBytes }: GatewaySize): string {
  return table(
    ["direct dependency", "MB of its own", "what for"],
    direct.map((name) => [
      name,
      figure((directBytes[name] ?? Number.NaN) / 1e6),
      REASONS[name] ?? "no reason is written down",
    ]),
  );
}
