import { describe, expect, it } from "vitest";
import { allowedLookup, isForbidden } from "../../src/upstream/remote-address.ts";

describe("forbidden addresses", () => {
  it.each([
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "[::ffff:6464:64c8]",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::6464:64c8",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254",
  ])("are %s", (address) => expect(isForbidden(address)).toBe(true));

  it.each([
    "127.0.0.1",
    "::1",
    "10.0.0.1",
    "192.168.1.1",
    "169.253.1.1",
    "fd00:ec2::253",
    "::ffff:10.0.0.1",
    "a.b",
  ])("are not %s", (address) => expect(isForbidden(address)).toBe(false));

  it("are looked for in what a name stands for", async () => {
    const all = await new Promise((resolve) =>
      allowedLookup("localhost", { all: true }, (_, found) => resolve(found)),
    );
    expect(all).toContainEqual({ address: "127.0.0.1", family: 4 });
    const one = await new Promise((resolve) =>
      allowedLookup("localhost", { family: 4 }, (...found) => resolve(found)),
    );
    expect(one).toEqual([null, "127.0.0.1", 4]);
    const none = await new Promise((resolve) =>
      allowedLookup("no.such.invalid", {}, (error) => resolve(error)),
    );
    expect(none).toBeInstanceOf(Error);
  });
});
