import { expect, test } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { labelOf, readStoreUrl } from "../../src/session-store/store-url.ts";

const caFile = undefined;

test.each([
  ["redis://host", { kind: "redis", url: "redis://host", caFile }, "redis://host:6379/0"],
  [
    " rediss://user:p%40ss@host:7000/3 ",
    { kind: "redis", url: "rediss://user:p%40ss@host:7000/3", caFile },
    "rediss://host:7000/3",
  ],
  [
    "redis://:secret@a:1,redis://[fd12::1]:2",
    { kind: "redis", url: "redis://:secret@a:1,redis://[fd12::1]:2", caFile },
    "redis://a:1/0,redis://[fd12::1]:2/0",
  ],
  [
    "redis+sentinel://u:p@a,b:7/mymaster/2",
    { kind: "redis", url: "redis+sentinel://u:p@a,b:7/mymaster/2", caFile },
    "redis+sentinel://a:26379,b:7/mymaster/2",
  ],
  [
    "https://:to%2Fken@eu1.upstash.io",
    { kind: "upstash", url: "https://eu1.upstash.io/", token: "to/ken" },
    "https://eu1.upstash.io",
  ],
  [
    "https://:token@host:8443/below/here",
    { kind: "upstash", url: "https://host:8443/below/here", token: "token" },
    "https://host:8443",
  ],
  [
    "http://:token@127.0.0.1:8079",
    { kind: "upstash", url: "http://127.0.0.1:8079/", token: "token" },
    "http://127.0.0.1:8079",
  ],
  ["file:data/sessions", { kind: "file", directory: "data/sessions", sync: "second" }, "file:data/sessions"],
  ["file:/var/my data", { kind: "file", directory: "/var/my data", sync: "second" }, "file:/var/my data"],
  ["file:///var/data", { kind: "file", directory: "/var/data", sync: "second" }, "file:/var/data"],
])("reads %j, and shows it without its secrets", (text, target, label) => {
  const read = readStoreUrl(text, { name: "--from" });
  expect(read).toEqual(target);
  expect(labelOf(read)).toBe(label);
});

test("keeps the CA file and the way of writing that it is given", () => {
  expect(readStoreUrl("rediss://host", { name: "x", caFile: "ca.pem" })).toMatchObject({ caFile: "ca.pem" });
  expect(readStoreUrl("file:x", { name: "x", sync: "off" })).toMatchObject({ sync: "off" });
  expect(labelOf({ kind: "memory" })).toBe("memory");
});

test.each([
  "",
  "canary",
  "canary:6379",
  "canary/path",
  "ftp://canary",
  "redis://",
  "redis:canary",
  "redis://host/canary",
  "redis://:canary%@host",
  "redis://a/1,redis://b/1",
  "redis://a,https://canary",
  "redis+sentinel://canary",
  "redis+sentinel://canary/",
  "redis+sentinel:///canary",
  "redis+sentinel://a:canary/name",
  "redis+sentinel://a/name/canary",
  "https://canary",
  "https://user:canary@host",
  "https://:canary%@host",
  "https://:canary%20@host",
  "https://:token@host?canary",
  "https://",
  "http://:canary@redis.example",
  "http://:canary@127.0.0.1.example",
  "file:",
  "file://",
  "file://canary/path",
])("refuses %j with words that name what it was given as and show nothing of it", (text) => {
  expect(() => readStoreUrl(text, { name: "SESSION_MIRROR" })).toThrow(ConfigError);
  expect(() => readStoreUrl(text, { name: "SESSION_MIRROR" })).toThrow(/^SESSION_MIRROR: (?!.*canary)/);
});
