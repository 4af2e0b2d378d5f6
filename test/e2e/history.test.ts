import { describe, expect, test } from "vitest";
import type { Message } from "../support/sse-client.ts";
import { violations, type History } from "./history.ts";

const answer = (id: number, text: string): Message => ({
  jsonrpc: "2.0",
  id,
  result: { content: [{ type: "text", text }] },
});

const history = (session: string, received: Message[]): History => ({
  session,
  sent: new Map([
    [0, `${session}-0`],
    [1, `${session}-1`],
  ]),
  received,
});

describe("the checker of histories", () => {
  test("finds nothing where each request has one answer, in any order", () => {
    const one = history("one", [answer(1, "one-1"), answer(0, "one-0")]);
    const two = history("two", [answer(0, "two-0"), answer(1, "two-1")]);
    expect(violations([one, two])).toEqual([]);
  });

  const whole = [answer(0, "one-0"), answer(1, "one-1")];
  test.each<[string, Message[], string]>([
    ["a lost answer", [answer(0, "one-0")], "one: answer 1 was lost"],
    ["an answer that came twice", [...whole, answer(1, "one-1")], "one: answer 1 came twice"],
    ["an answer on a wrong stream", [...whole, answer(1, "two-1")], "one: has an answer for two"],
    ["swapped answers", [answer(1, "one-0"), answer(0, "one-1")], "one: answer 1 has another's nonce"],
    ["an answer nobody asked for", [...whole, answer(7, "x")], "one: nobody asked for 7"],
    [
      "a stranger's request carried out",
      [...whole, answer(7, "evil")],
      "one: carried out a stranger's request",
    ],
  ])("finds %s", (_name, received, words) => {
    const two = history("two", [answer(0, "two-0"), answer(1, "two-1")]);
    expect(violations([history("one", received), two], new Set(["evil"]))).toContain(words);
  });
});
