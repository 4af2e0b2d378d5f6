import { networkInterfaces } from "node:os";
import { describe, expect, test } from "vitest";
import { callableOrigin, createOriginCheck, findAddress } from "../../src/relay/address.ts";

describe("an address out of a lease", () => {
  test.each([
    ["http://127.0.0.1:3000", "http://127.0.0.1:3000"],
    ["http://127.8.9.10:1/", "http://127.8.9.10:1"],
    ["http://10.255.0.1:3000", "http://10.255.0.1:3000"],
    ["http://172.16.0.1", "http://172.16.0.1"],
    ["http://172.31.255.255", "http://172.31.255.255"],
    ["http://192.168.1.1:3000", "http://192.168.1.1:3000"],
    ["http://100.64.0.1:3000", "http://100.64.0.1:3000"],
    ["http://[::1]:3000", "http://[::1]:3000"],
    ["http://[fd12:0::1]:3000", "http://[fd12::1]:3000"],
    ["http://[fc00::1]", "http://[fc00::1]"],
    // Another spelling of 127.0.0.1, called by that name.
    ["http://2130706433:1", "http://127.0.0.1:1"],
    ["http://gw-1.internal:3000", "http://gw-1.internal:3000"],
    ["http://GW-1.Internal:3000", "http://gw-1.internal:3000"],
    ["http://[2001:db8::1]:3000", "http://[2001:db8::1]:3000"],
    ["http://8.8.4.4", "http://8.8.4.4"],
  ])("%s is called", (address, origin) => {
    expect(callableOrigin(address, ["gw-1.INTERNAL", "2001:db8::1", "8.8.4.4"])).toBe(origin);
  });

  test.each([
    "",
    "redis",
    "//10.0.0.1",
    "https://10.0.0.1",
    "ftp://10.0.0.1",
    "file:///etc/passwd",
    "http://8.8.8.8",
    "http://172.32.0.1",
    "http://172.15.0.1",
    "http://192.169.0.1",
    "http://100.128.0.1",
    "http://11.0.0.1",
    "http://0.0.0.0:3000",
    "http://[::]:3000",
    // Where cloud providers tell secrets.
    "http://169.254.169.254",
    "http://[fe80::1]",
    "http://[fd00::1",
    "http://[2001:db8::2]",
    "http://[::ffff:8.8.8.8]",
    "http://[::ffff:169.254.169.254]",
    "http://localhost:3000",
    "http://metadata.google.internal",
    "http://10.0.0.1.example.com",
    "http://gw-1.internal.example.com",
    "http://gw-1.internal@8.8.8.8",
    "http://user@10.0.0.1",
    "http://:password@10.0.0.1",
    "http://10.0.0.1/path",
    "http://10.0.0.1/?query",
    "http://10.0.0.1/#hash",
    "http://10.0.0.1\\@8.8.8.8",
  ])("%s is not called", (address) => {
    expect(callableOrigin(address, ["gw-1.internal", "2001:db8::1"])).toBeUndefined();
  });

  test("is judged the same each time, also when thousands of others were meanwhile", () => {
    const originOf = createOriginCheck(["gw-1.internal"]);
    for (let time = 0; time < 2; time += 1) {
      expect(originOf("http://gw-1.internal:3000/")).toBe("http://gw-1.internal:3000");
      expect(originOf("http://gw-2.internal:3000")).toBeUndefined();
      for (let port = 1; port <= 2000; port += 1) {
        const address = `http://127.0.0.1:${port}/`;
        for (let again = 0; again < 2; again += 1)
          expect(originOf(address)).toBe(callableOrigin(address, []));
      }
    }
  });
});

describe("the own address", () => {
  const nowhere = { host: undefined, port: 3000 };
  const own = ["127.0.0.1", "10.1.2.3", "fd12:0:0::7", "203.0.113.9", "fe80::1"];
  const look = (...found: string[][]) => ({
    privateDomain: "gateway.internal",
    lookUp: async () => found.shift() ?? [],
    ownAddresses: () => own,
    waitMs: 0,
  });

  test("is what the operator says", async () => {
    expect(await findAddress({ ...nowhere, url: "http://gw-1:3000" })).toBe("http://gw-1:3000");
  });

  test.each([
    ["127.0.0.1", "http://127.0.0.1:3000"],
    ["192.168.0.5", "http://192.168.0.5:3000"],
    ["::1", "http://[::1]:3000"],
    ["[fd00::5]", "http://[fd00::5]:3000"],
    ["203.0.113.9", undefined],
    ["localhost", undefined],
    ["0.0.0.0", undefined],
    ["::", undefined],
    [undefined, undefined],
  ])("is %s when the gateway listens there: %s", async (host, address) => {
    expect(await findAddress({ ...nowhere, host })).toBe(address);
  });

  test.each([
    ["fd12::7", "http://[fd12:0:0::7]:3000"],
    ["10.1.2.3", "http://10.1.2.3:3000"],
  ])("is the one of this machine among those of all instances: %s", async (ip, address) => {
    const found = await findAddress({ ...nowhere, ...look(["10.1.2.4", "fd12::8", ip]) });
    expect(found && new URL(found).origin).toBe(new URL(address).origin);
  });

  test.each([["203.0.113.9"], ["fe80::1"], ["10.9.9.9"]])(
    "is never %s, public, link-local or another's",
    async (ip) => {
      expect(await findAddress({ ...nowhere, ...look([ip]) })).toBeUndefined();
    },
  );

  test("is looked for again while the private network comes up", async () => {
    const found = await findAddress({ ...nowhere, ...look([], [], ["10.1.2.3"]), waitMs: 10_000 });
    expect(found).toBe("http://10.1.2.3:3000");
  });

  test("is not looked for any longer once that is called off", async () => {
    const over = new AbortController();
    const finding = findAddress({ ...nowhere, ...look(), waitMs: 600_000, signal: over.signal });
    over.abort();
    expect(await finding).toBeUndefined();
  });

  test("is not looked for when the gateway listens on one interface only", async () => {
    expect(await findAddress({ ...look(["10.1.2.3"]), host: "203.0.113.9", port: 1 })).toBeUndefined();
  });

  test("asks the system when not told otherwise, and takes a name that does not exist for none", async () => {
    expect(networkInterfaces()).toBeDefined();
    const options = { ...nowhere, privateDomain: "canary.invalid", waitMs: 0 };
    expect(await findAddress(options)).toBeUndefined();
  });
});
