import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ExchangeEvents, RemoteHttp } from "../../src/upstream/remote-http.ts";
import { RemoteStream, type RemoteStreamOptions } from "../../src/upstream/remote-stream.ts";

describe("a stream of a server that", () => {
  /** What the server does with each connection. */
  let serve: (events: ExchangeEvents) => void;
  let opened: number[];
  let stream: RemoteStream;
  beforeEach(() => {
    vi.useFakeTimers();
    // No luck in how much later it comes.
    vi.spyOn(Math, "random").mockReturnValue(0);
    opened = [];
  });
  afterEach(() => {
    stream.close();
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  const http: RemoteHttp = {
    exchange(_request, events) {
      opened.push(Date.now());
      queueMicrotask(() => serve(events));
      return { pause: () => undefined, resume: () => undefined, abort: () => undefined };
    },
    close: async () => undefined,
  };
  const say = (text: string, standsMs = 0) => {
    return (events: ExchangeEvents): void => {
      events.onHead({ status: 200, headers: {}, type: "text/event-stream" });
      events.onData(Buffer.from(text));
      if (standsMs === 0) events.onEnd();
      else setTimeout(() => events.onEnd(), standsMs);
    };
  };
  function open(options: Partial<RemoteStreamOptions> = {}): void {
    stream = new RemoteStream({
      ...{ http, headers: () => ({}), maxMessageBytes: 1000, maxTries: Infinity, ...options },
      ...{ isPaused: () => false, isWanted: () => true, onEvent: () => undefined },
      ...{ onLost: () => undefined, onTooLarge: () => undefined, ...options },
    });
    stream.open();
  }
  /** The times between its connections, in ms. */
  async function gaps(count: number, standsMs = 0): Promise<number[]> {
    while (opened.length <= count) await vi.advanceTimersByTimeAsync(10);
    return opened.slice(1, count + 1).map((at, n) => at - (opened[n] as number) - standsMs);
  }

  it("wants to be met again at once and says nothing is left alone, longer and longer", async () => {
    serve = say("retry: 0\nid: 1\ndata: \n\n");
    open();
    const times = await gaps(16);
    expect(times.slice(0, 3)).toEqual([250, 250, 250]);
    expect(times.slice(-2)).toEqual([16_384, 30_000]);
  });

  it("wants to be met again at once and always says something is left alone for a moment each time", async () => {
    serve = say("retry: 0\ndata: 1\n\n");
    open();
    expect(await gaps(12)).toEqual(Array.from({ length: 12 }, () => 250));
  });

  it("keeps a connection for a while is met again when it wants", async () => {
    serve = say("retry: 500\n\n", 10_001);
    open();
    expect(await gaps(4, 10_001)).toEqual([500, 500, 500, 500]);
  });

  it("tells that there is nothing yet is asked again and again", async () => {
    const onLost = vi.fn<RemoteStreamOptions["onLost"]>();
    serve = say("retry: 300\nid: 1\ndata: \n\n");
    open({ maxTries: 2, onLost });
    await gaps(6);
    expect(onLost).not.toHaveBeenCalled();
    serve = (events) => events.onEnd(new Error("gone"));
    await vi.advanceTimersByTimeAsync(1e6);
    expect(onLost).toHaveBeenCalledTimes(1);
  });
});
