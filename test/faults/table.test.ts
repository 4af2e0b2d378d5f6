import { expect, test } from "vitest";
import type { Figure } from "./figures.ts";
import { renderReliability } from "./table.ts";

const row = (more: Partial<Figure>): Figure => ({
  story: "1 Cuts",
  row: "1,000 cuts",
  promise: "0 lost",
  figure: "0",
  holds: true,
  form: "full",
  ...more,
});

test("the table has a part for each story, in order, and says what does not hold", () => {
  const text = renderReliability([row({ story: "2 Relay", figure: "a|b", holds: false }), row({})]);
  expect(text.split("\n")).toEqual([
    "### Cuts",
    "",
    "| What was done | What is promised | Measured | |",
    "| --- | --- | --- | --- |",
    "| 1,000 cuts | 0 lost | 0 | holds |",
    "",
    "### Relay",
    "",
    "| What was done | What is promised | Measured | |",
    "| --- | --- | --- | --- |",
    "| 1,000 cuts | 0 lost | a\\|b | **broken** |",
    "",
  ]);
});
