import { describe, expect, it } from "vitest";
import {
  createEventReader,
  createJsonReader,
  messagesOf,
  type ServerEvent,
} from "../../src/upstream/remote-body.ts";

describe("event reader", () => {
  function read(text: string, { maxMessageBytes = 1000, size = Infinity } = {}) {
    const events: ServerEvent[] = [];
    const retries: number[] = [];
    let tooLarge = 0;
    const reader = createEventReader({
      maxMessageBytes,
      onEvent: (event) => void events.push(event),
      onRetry: (retryMs) => void retries.push(retryMs),
      onTooLarge: () => void (tooLarge += 1),
    });
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
    return { events, retries, tooLarge };
  }

  const TEXT = "\ufeffid: a\r\nevent: x\r\ndata: é😀\r\ndata: \u2028\r\n\r\n: ping\n\nretry: 5\ndata:2\n\n";

  it.each([Infinity, 7, 3, 1])("reads the same in pieces of %s bytes", (size) => {
    expect(read(TEXT, { size })).toEqual({
      events: [
        { name: "x", id: "a", data: "é😀\n\u2028" },
        { name: "message", id: undefined, data: "2" },
      ],
      retries: [5],
      tooLarge: 0,
    });
  });

  it("FLT-44 knows no id that could not be sent back", () => {
    const ids = ["a\u0000b", "é", "x".repeat(1025), "", "ok 1"];
    const { events } = read(ids.map((id) => `id: ${id}\ndata: 1\n\n`).join(""), { maxMessageBytes: 10_000 });
    expect(events.map(({ id }) => id)).toEqual([undefined, undefined, undefined, undefined, "ok 1"]);
  });

  it.each([
    ["a line without an end", `data: ${"x".repeat(9000)}`],
    ["an event without an end", "data: xxxxxxxxxxxxx\n".repeat(1000)],
    ["an event", `data: ${"é".repeat(501)}\n\n`],
  ])("FLT-44 stops once at %s that is too long", (_, text) => {
    expect(read(`${text}\n\ndata: 1\n\n${text}`, { size: 100 })).toEqual({
      events: [],
      retries: [],
      tooLarge: 1,
    });
  });

  it("takes the longest event that it may", () => {
    expect(read(`data: ${"é".repeat(500)}\n\n`).events).toHaveLength(1);
  });
});

describe("JSON reader", () => {
  function read(text: string) {
    const messages: string[] = [];
    let tooLarge = 0;
    const reader = createJsonReader({
      maxMessageBytes: 20,
      onMessage: (message) => void messages.push(message.toString()),
      onTooLarge: () => void (tooLarge += 1),
    });
    for (const character of text) reader.push(Buffer.from(character));
    reader.end();
    return { messages, tooLarge };
  }

  it("gives a message when it is whole, on one line", () => {
    expect(read('{"a":\n1}')).toEqual({ messages: ['{"a": 1}'], tooLarge: 0 });
  });

  it("stops once when it is too long", () => {
    expect(read("x".repeat(50)).tooLarge).toBe(1);
  });
});

describe("messages of a text", () => {
  it.each([
    ['[{"a":1}, {"b":[1,2]} ]', ['{"a":1}', '{"b":[1,2]}']],
    ["[]", []],
    ["[{}", []],
    ["[{},", []],
    ["[{}]x", []],
  ])("%s", (text, expected) => expect(messagesOf(Buffer.from(text)).map(String)).toEqual(expected));
});
