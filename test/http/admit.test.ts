import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { GatewayError } from "../../src/errors.ts";
import { queryOf } from "../../src/http/admit.ts";
import { pathOf } from "../../src/http/answer.ts";
import { clientAddress, type TrustProxy } from "../../src/http/client-address.ts";

const read = (url: string) => {
  try {
    return [...queryOf({ url } as never)];
  } catch (error) {
    return (error as GatewayError).reason;
  }
};

describe("queryOf", () => {
  it("gives back what URLSearchParams writes, and refuses what names a parameter twice", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }))),
        (pairs) => {
          const query = new URLSearchParams(pairs).toString();
          const given = [...new URLSearchParams(query)];
          const isTwice = new Set(given.map(([name]) => name)).size < given.length;
          expect(read(`/x?${query}`)).toEqual(isTwice ? "bad_query" : given);
        },
      ),
    );
  });

  it("never reads a parameter otherwise than URLSearchParams does", () => {
    const soup = fc.string({
      unit: fc.constantFrom("a", "b", "=", "&", "%41", "%", "+", "?", "[]", ";", "%26", "%ff"),
    });
    fc.assert(
      fc.property(soup, (query) => {
        const parameters = read(`/x?${query}`);
        if (parameters === "bad_query") return;
        for (const [name, value] of parameters as [string, string][]) {
          if (name !== "" || value !== "")
            expect(new URL(`http://h/x?${query}`).searchParams.getAll(name)).toEqual([value]);
        }
      }),
    );
  });

  it("needs no query", () => {
    expect([read("/x"), read("/x?")]).toEqual([[], []]);
  });
});

describe("clientAddress", () => {
  const of = (headers: Record<string, string>, trust: TrustProxy, remoteAddress = "::ffff:192.0.2.1") =>
    clientAddress({ headers, socket: { remoteAddress } } as never, trust);
  const address = fc.oneof(fc.ipV4(), fc.ipV6());
  const lie = fc.oneof(address, fc.string(), fc.constant(","), fc.constant("127.0.0.1, ::1"));

  it("SEC-62 believes no header when no proxy is trusted", () => {
    fc.assert(
      fc.property(lie, (text) => {
        expect(of({ "x-forwarded-for": text, "x-real-ip": text, forwarded: text }, "off")).toBe("192.0.2.1");
      }),
    );
  });

  it("SEC-62 counts proxies from the right, so what a client invents on the left changes nothing", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.array(address, { minLength: 9, maxLength: 9 }),
        lie,
        (trust, seen, text) => {
          const hops = seen.slice(0, trust).join(", ");
          expect(of({ "x-forwarded-for": `${text}, ${hops}` }, trust)).toBe(seen[0]);
          expect(of({ "x-forwarded-for": hops, "x-real-ip": text }, trust)).toBe(seen[0]);
        },
      ),
    );
  });

  it("SEC-62 takes Railway's X-Real-IP alone, and the socket's address when that is no address", () => {
    expect(of({ "x-real-ip": "198.51.100.7", "x-forwarded-for": "10.0.0.1" }, "railway")).toBe(
      "198.51.100.7",
    );
    for (const text of ["", "x", "198.51.100.7, 10.0.0.1", "198.51.100.7\n", "a".repeat(46), "évil"])
      expect(of({ "x-real-ip": text }, "railway")).toBe("192.0.2.1");
    expect(of({ "x-forwarded-for": "10.0.0.1" }, 2)).toBe("192.0.2.1");
  });
});

describe("pathOf", () => {
  const path = (url: string) => pathOf({ url } as never);

  it("SEC-21 says the path and nothing of the query", () => {
    expect(path("/mcp/sse?apiKey=secret")).toBe("/mcp/sse");
    expect(path("/.well-known/oauth-protected-resource/mcp/sse?x")).toBe(
      "/.well-known/oauth-protected-resource/mcp/sse",
    );
    expect(path("/health/live")).toBe("/health/live");
  });

  it("SEC-21 says no part of a path that may be a key", () => {
    const key = fc.string({
      unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyzABC0123456789-_.~=+".split("")),
      minLength: 32,
      maxLength: 80,
    });
    fc.assert(
      fc.property(
        key,
        fc.constantFrom("/", "/mcp/sse/", "/mcp/sse&apiKey=", "/mcp/sse%3FapiKey=", "/mcp/sse;key="),
        (text, before) => {
          expect(path(before + text)).not.toContain(text.slice(0, 16));
        },
      ),
    );
  });
});
