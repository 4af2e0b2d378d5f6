import { expect, test } from "vitest";
import { readMessage } from "./message.ts";

const answer = (text: string): string =>
  JSON.stringify({ jsonrpc: "2.0", result: { content: [{ type: "text", text }] }, id: 7 });

test("cuts a long text, keeps its start and tells its length", () => {
  const message = readMessage(answer(`nonce-1${"x".repeat(999_993)}`));
  expect(message.id).toBe(7);
  expect(message.textLength).toBe(1_000_000);
  expect(message.result?.content?.[0]?.text).toMatch(/^nonce-1x+$/);
});

test("reads a text that was sent along as it is", () => {
  const text = "x".repeat(65_536);
  expect(readMessage(answer(text)).result?.content?.[0]?.text).toBe(text);
});

test("reads a long message whose length is not that of a text", () => {
  const message = JSON.stringify({ id: 1, result: { tools: [{ name: "echo", about: "y".repeat(70_000) }] } });
  expect(readMessage(message).result?.tools?.[0]?.name).toBe("echo");
  expect(readMessage(`${answer("short")}${" ".repeat(70_000)}`).result?.content?.[0]?.text).toBe("short");
});
