import { describe, expect, it } from "vitest";
import { renameAnswer, renameRequest, stringOf } from "../../src/upstream/mux-marks.ts";

/** The spellings of a slash that JSON knows; PHP writes the second. */
const SLASHES = ["/", "\\/", "\\u002f"];

describe("a member of a message", () => {
  it.each(SLASHES)("is found where its name is spelled with %s", (slash) => {
    const name = `io.modelcontextprotocol${slash}logLevel`;
    const request = Buffer.from(
      `{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{"${name}":"debug","progressToken":"t"}}}`,
    );
    expect(stringOf(request, "params", "_meta", "io.modelcontextprotocol/logLevel")).toBe("debug");
    expect(renameRequest(request, "1")).toMatchObject({ ownId: "7", ownToken: '"t"', wantsLogs: true });
  });

  it.each(SLASHES)("is the client's own again in an answer, where its name is spelled with %s", (slash) => {
    const answer = (id: string): string =>
      `{"jsonrpc":"2.0","id":${id},"result":{"_meta":{"io.modelcontextprotocol${slash}subscriptionId":${id}}}}`;
    expect(renameAnswer(Buffer.from(answer("7")), '"own"').toString()).toBe(answer('"own"'));
  });

  it.each(["_meta", "\\u005fmeta", "_\\u006Deta"])("is found in %s", (meta) => {
    const request = Buffer.from(
      `{"jsonrpc":"2.0","id":7,"method":"m","params":{"${meta}":{"progressToken":"t"}}}`,
    );
    expect(renameRequest(request, "1").message.toString()).toBe(
      `{"jsonrpc":"2.0","id":1,"method":"m","params":{"${meta}":{"progressToken":1}}}`,
    );
  });
});
