import { createParser, type EventSourceMessage } from "eventsource-parser";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { onOneLine } from "../../src/protocol/json-rpc.ts";
import {
  encodeEndpoint,
  encodePrime,
  encodeRetry,
  EVENT_END,
  eventHead,
  HEARTBEAT,
} from "../../src/protocol/sse.ts";

function parse(...pieces: (string | Buffer)[]) {
  const events: EventSourceMessage[] = [];
  const comments: string[] = [];
  const retries: number[] = [];
  const parser = createParser({
    onEvent: (event) => events.push(event),
    onComment: (comment) => comments.push(comment),
    onRetry: (ms) => retries.push(ms),
  });
  parser.feed(Buffer.concat(pieces.map((piece) => Buffer.from(piece))).toString());
  return { events, comments, retries };
}

describe("SSE", () => {
  it("BAD-40 carries any JSON as one event with its id, line separators and all", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(), fc.boolean(), (value, sequence, isPretty) => {
        const message = onOneLine(
          Buffer.from(JSON.stringify(["\u2028\u2029\r\n\0", value], null, isPretty ? 2 : undefined)),
        );
        const { events } = parse(eventHead("s.", sequence), message, EVENT_END);
        expect(events).toEqual([{ id: `s.${sequence}`, event: "message", data: message.toString() }]);
      }),
    );
  });

  it("names the endpoint in its first event, and says when to reconnect", () => {
    const { events, retries } = parse(encodeEndpoint("/messages?sessionId=a&token=b", 1500));
    expect(events).toEqual([{ id: undefined, event: "endpoint", data: "/messages?sessionId=a&token=b" }]);
    expect(retries).toEqual([1500]);
  });

  it("keeps the stream alive with a comment that is no event", () => {
    expect(HEARTBEAT.toString()).toBe(": ping\n\n");
    expect(parse(HEARTBEAT, encodeRetry(5))).toEqual({ events: [], comments: ["ping"], retries: [5] });
  });

  it("begins a stream that can be gone on with by an event that has an id and no data", () => {
    const { events, retries } = parse(encodePrime("s.lane.7", 1500));
    expect(retries).toEqual([1500]);
    expect(events).toEqual([{ id: "s.lane.7", event: undefined, data: "" }]);
  });

  it("begins a stream of a client that knows no such event by when to come again, alone", () => {
    const { events, retries } = parse(encodePrime(undefined, 1500));
    expect([events, retries]).toEqual([[], [1500]]);
  });
});
