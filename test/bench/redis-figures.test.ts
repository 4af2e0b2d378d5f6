import { expect, it } from "vitest";
import { readRedisInfo } from "./redis-figures.ts";

it("reads Redis's own CPU, without that of its children, and the commands it has processed", () => {
  const info = [
    "# Stats",
    "total_connections_received:3",
    "total_commands_processed:1885",
    "# CPU",
    "used_cpu_sys:0.250000",
    "used_cpu_user:1.500000",
    "used_cpu_sys_children:9.000000",
    "used_cpu_user_children:9.000000",
  ].join("\r\n");
  expect(readRedisInfo(info)).toEqual({ cpuSeconds: 1.75, commands: 1885 });
});
