import { expect, it } from "vitest";
import { FAULTS, GatewayError } from "../src/errors.ts";

it("keeps what clients match on: statuses, reasons and the promised phrases", () => {
  const face = Object.entries(FAULTS).map(
    ([reason, { status, rpcCode }]) => `${reason} ${status} ${rpcCode}`,
  );
  expect(face).toMatchInlineSnapshot(`
    [
      "bad_request 400 -32600",
      "bad_target 400 -32600",
      "bad_host 400 -32600",
      "http_version 400 -32600",
      "bad_query 400 -32600",
      "bad_client_id 400 -32600",
      "repeated_header 400 -32600",
      "request_timeout 408 -32600",
      "url_too_long 414 -32600",
      "headers_too_large 431 -32600",
      "expectation_failed 417 -32600",
      "transfer_encoding 501 -32600",
      "not_found 404 -32601",
      "oauth_not_offered 404 -32601",
      "method_not_allowed 405 -32000",
      "not_acceptable 406 -32000",
      "origin_not_allowed 403 -32000",
      "host_not_allowed 403 -32000",
      "api_key_missing 401 -32000",
      "api_key_invalid 401 -32000",
      "ambiguous_credentials 400 -32600",
      "auth_rate_limited 429 -32000",
      "session_id_required 400 -32600",
      "unsupported_media_type 415 -32600",
      "body_too_large 413 -32600",
      "parse_error 400 -32700",
      "invalid_message 400 -32600",
      "batch_not_allowed 400 -32600",
      "invalid_id 400 -32600",
      "ambiguous_member 400 -32600",
      "too_deep 400 -32600",
      "too_many_elements 400 -32600",
      "duplicate_id 400 -32600",
      "already_initialized 400 -32600",
      "too_many_in_flight 429 -32000",
      "mcp_session_id_required 400 -32600",
      "unsupported_version 400 -32000",
      "version_not_served 400 -32022",
      "header_mismatch 400 -32020",
      "meta_required 400 -32602",
      "batch_too_long 400 -32600",
      "tool_not_allowed 403 -32602",
      "answer_lost 502 -32603",
      "event_unknown 400 -32600",
      "session_not_found 404 -32001",
      "session_elsewhere 503 -32000",
      "owner_unreachable 503 -32000",
      "delivery_unknown 504 -32000",
      "store_unavailable 503 -32000",
      "too_many_sessions 429 -32000",
      "overloaded 503 -32000",
      "draining 503 -32000",
      "upstream_busy 503 -32000",
      "upstream_queue_full 503 -32000",
      "upstream_start_failed 502 -32603",
      "upstream_exited 502 -32603",
      "upstream_restarted 502 -32603",
      "upstream_message_too_large 502 -32603",
      "upstream_timeout 504 -32603",
      "upstream_unavailable 503 -32603",
      "upstream_unreachable 502 -32603",
      "upstream_refused 502 -32603",
      "upstream_era 400 -32000",
      "upstream_cannot 404 -32601",
      "internal 500 -32603",
    ]
  `);
  expect(FAULTS.session_not_found.error).toBe("Invalid session");
  expect(FAULTS.session_elsewhere.error).toBe("Service temporarily unavailable");
  expect(FAULTS.store_unavailable.error).toBe("Service temporarily unavailable");
});

it("uses the JSON-RPC codes that the 2026-07-28 specification reserves only as it defines them", () => {
  const reserved = Object.entries(FAULTS).filter(([, { rpcCode }]) => rpcCode <= -32020 && rpcCode >= -32099);
  expect(reserved.map(([reason, { status, rpcCode }]) => [reason, status, rpcCode])).toEqual([
    ["version_not_served", 400, -32022],
    ["header_mismatch", 400, -32020],
  ]);
});

it("says how to mend each fault, in whole sentences", () => {
  for (const { message } of Object.values(FAULTS)) expect(message).toMatch(/^[A-Z].*\.$/);
});

it("carries its words and its cause", () => {
  const cause = new Error("why");
  const fault = new GatewayError("draining", { cause });
  expect([fault.reason, fault.words.status, fault.cause]).toEqual(["draining", 503, cause]);
});
