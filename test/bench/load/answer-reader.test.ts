import { expect, test } from "vitest";
import { AnswerReader } from "./answer-reader.ts";
import type { Message } from "./message.ts";
import { ResponseReader } from "./response-reader.ts";

/** The ids of the messages in responses that arrive in pieces of so many bytes. */
function readIds(responses: string, pieceBytes: number): unknown[] {
  const ids: unknown[] = [];
  const answers = new AnswerReader((message: Message) => ids.push(message.id));
  const reader = new ResponseReader({
    onHead: (status, head) => answers.begin(status, head),
    onBody: (bytes) => answers.push(bytes),
    onEnd: () => {
      answers.end(true);
      ids.push("end");
    },
  });
  for (let at = 0; at < responses.length; at += pieceBytes) {
    reader.push(Buffer.from(responses.slice(at, at + pieceBytes), "latin1"));
  }
  return ids;
}

const message = (id: number): string => `{"jsonrpc":"2.0","id":${id},"result":{}}`;
const json = (id: number): string =>
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${message(id).length}\r\n\r\n${message(id)}`;
const events = (...data: string[]): string => {
  const chunks = data.map((text) => `event: message\nid: 1\ndata: ${text}\n\n`);
  const body = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("");
  return `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n${body}0\r\n\r\n`;
};

test.each([1, 7, 100_000])("reads answers as JSON and as events, in pieces of %i bytes", (pieceBytes) => {
  const responses = json(1) + events("", message(2), message(3)) + json(4);
  expect(readIds(responses, pieceBytes)).toEqual([1, "end", 2, 3, "end", 4, "end"]);
});

test("takes no message from a response that refuses or only accepts", () => {
  const refused = json(1).replace("200 OK", "404 Not Found");
  const accepted = "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted";
  expect(readIds(refused + accepted + json(2), 9)).toEqual(["end", "end", 2, "end"]);
});

test("forgets what a broken connection had begun to say", () => {
  const ids: unknown[] = [];
  const answers = new AnswerReader(({ id }) => ids.push(id));
  const head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream";
  answers.begin(200, head);
  answers.push(Buffer.from('data: {"id":'));
  answers.end(false);
  answers.begin(200, head);
  answers.push(Buffer.from(`data: ${message(5)}\n\n`));
  answers.end(true);
  expect(ids).toEqual([5]);
});
