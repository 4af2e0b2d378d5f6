import { openResp } from "../support/upstash-resp.ts";

/** What a Redis says of its own work so far. */
export interface RedisWork {
  cpuSeconds: number;
  commands: number;
}

/** Reads them over a connection of its own; the look itself is one command. */
export async function watchRedis(url: string): Promise<{ read(): Promise<RedisWork>; close(): void }> {
  const connection = await openResp(url);
  let looks = 0;
  return {
    read: async () => {
      const [reply] = await connection.send([["INFO"]]);
      if (reply?.kind !== "bulk") throw new Error("Redis did not answer INFO");
      const { cpuSeconds, commands } = readRedisInfo(reply.bytes.toString("utf8"));
      looks += 1;
      return { cpuSeconds, commands: commands - looks };
    },
    close: () => connection.close(),
  };
}

export function readRedisInfo(info: string): RedisWork {
  const read = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, "m").exec(info)?.[1]);
  return {
    cpuSeconds: read("used_cpu_user") + read("used_cpu_sys"),
    commands: read("total_commands_processed"),
  };
}
