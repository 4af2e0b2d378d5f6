import { expect, it } from "vitest";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import { laneOf } from "../../src/session/lane-of.ts";
import { Requests } from "../../src/session/requests.ts";

/** Requests in flight, one in each of these lanes, the newest last. */
function open(...lanes: string[]) {
  const requests = new Requests(10);
  for (const [at, lane] of lanes.entries()) {
    const id = String(at + 1);
    const message = Buffer.from(
      `{"id":${id},"method":"tools/call","params":{"_meta":{"progressToken":"t${id}"}}}`,
    );
    requests.reenter({ id, method: "tools/call", sentAt: 0, message, lane });
  }
  return (message: object, ...heard: string[]) => {
    const bytes = Buffer.from(JSON.stringify({ jsonrpc: "2.0", ...message }));
    return laneOf(bytes, scanMessage(bytes) as Envelope, requests, (lane) => heard.includes(lane));
  };
}

const QUESTION = { id: "q", method: "roots/list" };

it("a question of the server goes with the newest request", () => {
  expect(open("a", "b")(QUESTION, "a", "b")).toBe("b");
  expect(open()(QUESTION)).toBeUndefined();
});

it("it goes with the newest to which the client listens: one that was sent again may have had its answer", () => {
  expect(open("a", "sent-again")(QUESTION, "a")).toBe("a");
});

it("it waits in the newest when the client listens to none", () => {
  expect(open("a", "b")(QUESTION)).toBe("b");
});

it("progress goes with the request that it names, whoever listens", () => {
  const progress = { method: "notifications/progress", params: { progressToken: "t1", progress: 1 } };
  expect(open("a", "b")(progress, "b")).toBe("a");
});

it("what is for all of the client is about no request", () => {
  expect(open("a")({ method: "notifications/tools/list_changed" }, "a")).toBeUndefined();
});
