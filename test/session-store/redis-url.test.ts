import { expect, test } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { reconnectDelayMs, redisOptions } from "../../src/session-store/redis-connection.ts";
import { readRedisUrl } from "../../src/session-store/redis-url.ts";

test.each([
  ["redis://localhost", { nodes: [{ host: "localhost", port: 6379 }], db: 0, tls: false }],
  ["redis://localhost:7000/3?family=0", { nodes: [{ host: "localhost", port: 7000 }], db: 3, tls: false }],
  ["redis://[fd12::1]:6379", { nodes: [{ host: "fd12::1", port: 6379 }], db: 0, tls: false }],
  [
    "rediss://default:p%40ss@eu1.upstash.io:6379",
    {
      nodes: [{ host: "eu1.upstash.io", port: 6379 }],
      username: "default",
      password: "p@ss",
      db: 0,
      tls: true,
    },
  ],
  [
    "redis://:secret@a:1, redis://b:2,",
    {
      nodes: [
        { host: "a", port: 1 },
        { host: "b", port: 2 },
      ],
      password: "secret",
      db: 0,
      tls: false,
    },
  ],
  [
    "rediss+sentinel://u:p%40ss@a,b:7000,[fd12::1]/my%20master/2",
    {
      nodes: [
        { host: "a", port: 26379 },
        { host: "b", port: 7000 },
        { host: "fd12::1", port: 26379 },
      ],
      master: "my master",
      username: "u",
      password: "p@ss",
      db: 2,
      tls: true,
    },
  ],
])("reads %s", (url, address) => {
  expect(readRedisUrl(url)).toEqual(address);
});

test.each([
  "",
  "canary.host:6379",
  "https://canary.upstash.io",
  "redis://",
  "redis://:canary%@host",
  "redis://host/canary",
  "redis://a/1,redis://b/1",
])("refuses %j with words that name REDIS_URL and show nothing of it", (url) => {
  expect(() => readRedisUrl(url)).toThrow(ConfigError);
  expect(() => readRedisUrl(url)).toThrow(/^REDIS_URL: (?!.*canary)/);
});

test("turns rediss into TLS, and never lets ioredis repeat a command", () => {
  const options = redisOptions(readRedisUrl("rediss://u:p@host"), 700);
  expect(options).toMatchObject({
    tls: {},
    username: "u",
    password: "p",
    commandTimeout: 700,
    connectTimeout: 700,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
  });
  expect(redisOptions(readRedisUrl("redis://host"), 700)).not.toHaveProperty("tls");
});

test("connects again after 0.1 s at first and 2 s at last, give or take a quarter", () => {
  expect([1, 2, 3, 9, 999].map((attempt) => reconnectDelayMs(attempt, () => 0.5))).toEqual([
    100, 200, 400, 2000, 2000,
  ]);
  expect(reconnectDelayMs(9, () => 0)).toBe(1500);
  expect(reconnectDelayMs(9, () => 1)).toBe(2500);
});
