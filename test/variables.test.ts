import { describe, expect, it } from "vitest";
import { fillVariables } from "../src/variables.ts";

const ENV = { TOKEN: "token-value", EMPTY: "", NESTED: "${TOKEN}", MCP_API_KEY: "canary" };

describe("fillVariables", () => {
  it.each([
    ["Bearer ${TOKEN}", "Bearer token-value", ["token-value"]],
    ["${env:TOKEN}/${TOKEN}", "token-value/token-value", ["token-value", "token-value"]],
    ["${UNSET:-a:-b}", "a:-b", []],
    ["${EMPTY:-x}", "x", []],
    ["${UNSET:-}", "", []],
    ["${TOKEN:-x}", "token-value", ["token-value"]],
    ["$TOKEN $(TOKEN) ${TOKEN", "$TOKEN $(TOKEN) ${TOKEN", []],
    ["${NESTED}", "${TOKEN}", ["${TOKEN}"]],
  ])("fills %s", (text, filled, secrets) => {
    expect(fillVariables(text, ENV)).toEqual({ text: filled, secrets, problems: [] });
  });

  it.each([
    ["${UNSET}", "uses ${UNSET}, which is not set"],
    ["${EMPTY}", "uses ${EMPTY}, which is not set"],
    ["${toString}", "uses ${toString}, which is not set"],
    ["${input:token}", "has a reference other than ${VAR}, ${env:VAR} and ${VAR:-default}"],
    ["${}", "has a reference other than ${VAR}, ${env:VAR} and ${VAR:-default}"],
    ["${MCP_API_KEY}", "uses ${MCP_API_KEY}, which is the gateway's own and goes to no server"],
    ["${MCP_API_KEYS:-x}", "uses ${MCP_API_KEYS}, which is the gateway's own and goes to no server"],
  ])("tells what is wrong with %s", (text, problem) => {
    expect(fillVariables(text, ENV)).toMatchObject({ secrets: [], problems: [problem] });
  });
});
