import { describe, expect, it } from "vitest";
import { decodeInheritance, encodeInheritance } from "../../src/session/journal.ts";

const bytes = (text: string) => Buffer.from(text);

describe("an inheritance", () => {
  const message = (text: string, sequence: number) => ({
    ...{ sequence, message: bytes(text), kind: "notification" as const, id: undefined },
    ...{ takenAt: Infinity, taken: 0 },
  });

  it("is the same after it was written and read, with its messages in order", () => {
    const ping = bytes('{"jsonrpc":"2.0","id":"a b","method":"ping"}');
    const inheritance = {
      messages: [message('{"jsonrpc":"2.0","method":"ä"}', 2), message('{"jsonrpc":"2.0","method":"b"}', 10)],
      unanswered: [
        { id: '"a b"', method: "ping", sentAt: 0, message: ping },
        { id: "7", method: "", sentAt: 0, message: undefined },
      ],
    };
    const entries = encodeInheritance(inheritance);
    expect(decodeInheritance(entries)).toEqual(inheritance);
    expect(decodeInheritance(new Map([...entries].reverse())).messages).toEqual(inheritance.messages);
    expect(decodeInheritance(new Map())).toEqual({ messages: [], unanswered: [] });
  });

  it("tells a response and a question from a notification", () => {
    const entries = new Map([
      ["m:1", bytes('{"jsonrpc":"2.0","id":4,"result":{}}')],
      ["m:2", bytes('{"jsonrpc":"2.0","id":"q","method":"roots/list"}')],
    ]);
    expect(decodeInheritance(entries).messages).toMatchObject([
      { kind: "response", id: "4" },
      { kind: "request", id: '"q"' },
    ]);
  });

  it("leaves out a request whose answer it has", () => {
    const entries = new Map([
      ["r:4", bytes('{"jsonrpc":"2.0","id":4,"method":"m"}')],
      ['r:"q"', bytes('{"jsonrpc":"2.0","id":"q","method":"m"}')],
      ["m:1", bytes('{"jsonrpc":"2.0","id":4,"result":{}}')],
      // The server's own question of the same id is no answer.
      ["m:2", bytes('{"jsonrpc":"2.0","id":"q","method":"roots/list"}')],
    ]);
    expect(decodeInheritance(entries).unanswered.map(({ id }) => id)).toEqual(['"q"']);
  });

  it("leaves out what is damaged, and knows of a damaged request that it must be answered", () => {
    const entries = new Map([
      ["m:1", bytes("not json")],
      ["m:x", bytes('{"jsonrpc":"2.0","method":"a"}')],
      ["m:1.5", bytes('{"jsonrpc":"2.0","method":"a"}')],
      ["x:1", bytes('{"jsonrpc":"2.0","method":"a"}')],
      ["r:1", bytes('{"jsonrpc":"2.0","id":2,"method":"another"}')],
      ["r:2", bytes("cut of")],
      ["r:3", bytes('{"jsonrpc":"2.0","id":3,"result":{}}')],
    ]);
    const { messages, unanswered } = decodeInheritance(entries);
    expect(messages).toEqual([]);
    expect(unanswered.map(({ id, message: text }) => [id, text])).toEqual([
      ["1", undefined],
      ["2", undefined],
      ["3", undefined],
    ]);
  });

  it("leaves out a request whose name is no id, since its answer could not be JSON", () => {
    const entries = new Map(["r:", "r:a", 'r:1,"x":2', 'r:"a', "r:{}"].map((name) => [name, bytes("{}")]));
    expect(decodeInheritance(entries).unanswered).toEqual([]);
  });
});
