/** What one foreseen fault says, to HTTP clients (`status`, `error`, `message`) and to JSON-RPC clients (`rpcCode`, `message`). */
interface FaultWords {
  /** HTTP status of the answer. */
  status: number;
  /** JSON-RPC code, where the fault is told on a stream. Meaning is in the reason, never in a number of our own. */
  rpcCode: number;
  /** The short phrase in the answer's `error` member. `Invalid session` and `Service temporarily unavailable` are promised to users. */
  error: string;
  /** What happened and how to mend it. Says nothing of a secret, a path or another caller. */
  message: string;
  /** Seconds for `Retry-After`. */
  retryAfterSeconds?: number;
}

const fault = (status: number, rpcCode: number, error: string, message: string, retryAfterSeconds?: number) =>
  ({
    status,
    rpcCode,
    error,
    message,
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  }) as const;

/** Every fault the gateway foresees, once. The key is the stable `reason` that clients may match on; `docs/errors.md` is made from this table. */
export const FAULTS = {
  // The request itself
  bad_request: fault(
    400,
    -32600,
    "Bad request",
    "The request could not be read as HTTP/1.1. Check the client or the proxy in front.",
  ),
  bad_target: fault(
    400,
    -32600,
    "Bad request",
    "The request target must be a plain path such as /mcp/sse, not a full URL.",
  ),
  bad_host: fault(400, -32600, "Bad request", "Exactly one valid Host header is needed."),
  http_version: fault(
    400,
    -32600,
    "Bad request",
    "Only HTTP/1.1 is spoken here. Let the proxy in front speak HTTP/1.1 to the gateway.",
  ),
  bad_query: fault(
    400,
    -32600,
    "Bad request",
    "A query parameter is given twice or is not valid percent-encoding. Send each parameter once.",
  ),
  bad_client_id: fault(
    400,
    -32600,
    "Bad request",
    "A clientId is 1 to 128 visible ASCII characters. Choose a name that is this client's alone, and keep it.",
  ),
  repeated_header: fault(
    400,
    -32600,
    "Bad request",
    "A header that may be sent once was sent twice. Check for a proxy that adds it again.",
  ),
  request_timeout: fault(
    408,
    -32600,
    "Request timeout",
    "The request took too long to arrive. Send it again on a new connection.",
  ),
  url_too_long: fault(414, -32600, "URL too long", "The URL may have at most 4096 characters."),
  headers_too_large: fault(
    431,
    -32600,
    "Headers too large",
    "The headers may have at most 16 KiB and 100 lines.",
  ),
  expectation_failed: fault(
    417,
    -32600,
    "Expectation failed",
    "The only expectation understood is 100-continue.",
  ),
  transfer_encoding: fault(
    501,
    -32600,
    "Not implemented",
    "The only transfer encoding understood is chunked.",
  ),
  not_found: fault(
    404,
    -32601,
    "Not found",
    "There is nothing at this path. Connect MCP clients to /mcp/sse or /mcp.",
  ),
  oauth_not_offered: fault(
    404,
    -32601,
    "not_found",
    "This server uses API keys, not OAuth. Send the key as X-API-Key, Authorization: Bearer, or ?apiKey= on GET.",
  ),
  method_not_allowed: fault(
    405,
    -32000,
    "Method not allowed",
    "This path takes only the methods named in the Allow header.",
  ),
  not_acceptable: fault(
    406,
    -32000,
    "Not acceptable",
    "This path answers with an event stream. Send Accept: text/event-stream.",
  ),
  origin_not_allowed: fault(
    403,
    -32000,
    "Forbidden",
    "Requests from this web origin are refused. The operator can list it in ALLOWED_ORIGINS.",
  ),
  host_not_allowed: fault(
    403,
    -32000,
    "Forbidden",
    "This host name is not served here. The operator can list it in ALLOWED_HOSTS.",
  ),

  // Who is asking
  api_key_missing: fault(
    401,
    -32000,
    "Unauthorized",
    "An API key is needed. Send it as X-API-Key, Authorization: Bearer, or ?apiKey= on GET /mcp/sse.",
  ),
  api_key_invalid: fault(
    401,
    -32000,
    "Unauthorized",
    "This API key is not known here. Check it for missing characters, or ask the operator for a new one.",
  ),
  ambiguous_credentials: fault(
    400,
    -32600,
    "Bad request",
    "Different or repeated credentials were sent. Send one API key, in one place.",
  ),
  auth_rate_limited: fault(
    429,
    -32000,
    "Too many requests",
    "Too many wrong API keys or session ids were tried. Wait a minute, then use a valid one.",
    60,
  ),

  // The message
  session_id_required: fault(
    400,
    -32600,
    "Bad request",
    "The session is missing. POST to the URL that the stream's endpoint event names.",
  ),
  unsupported_media_type: fault(
    415,
    -32600,
    "Unsupported media type",
    "Send one JSON-RPC message as application/json, in UTF-8 and not compressed.",
  ),
  body_too_large: fault(
    413,
    -32600,
    "Body too large",
    "The message is larger than this gateway accepts. The operator can raise MAX_BODY_BYTES.",
  ),
  parse_error: fault(400, -32700, "Parse error", "The body is not valid JSON in UTF-8."),
  invalid_message: fault(
    400,
    -32600,
    "Invalid message",
    "The body is not one JSON-RPC 2.0 request, notification or response.",
  ),
  batch_not_allowed: fault(
    400,
    -32600,
    "Invalid message",
    "Batches are not part of this protocol version. Send each message in a POST of its own.",
  ),
  invalid_id: fault(
    400,
    -32600,
    "Invalid message",
    "The id must be an integer or a string of at most 1024 bytes.",
  ),
  ambiguous_member: fault(
    400,
    -32600,
    "Invalid message",
    "A top-level member stands twice, or looks like a known one in other letters.",
  ),
  too_deep: fault(400, -32600, "Invalid message", "The message is nested deeper than 128 levels."),
  too_many_elements: fault(400, -32600, "Invalid message", "The message has more than 50000 elements."),
  duplicate_id: fault(
    400,
    -32600,
    "Invalid message",
    "A request with this id is still in flight. Use a new id for each request.",
  ),
  already_initialized: fault(
    400,
    -32600,
    "Invalid message",
    "This session is initialized already. Open a new stream to start again.",
  ),
  too_many_in_flight: fault(
    429,
    -32000,
    "Too many requests",
    "Too many requests of this session are unanswered. Wait for some of them to finish.",
    1,
  ),

  mcp_session_id_required: fault(
    400,
    -32600,
    "Bad request",
    "The session is missing. Send initialize first, and its Mcp-Session-Id with every request after it.",
  ),
  unsupported_version: fault(
    400,
    -32000,
    "Bad request",
    "Unsupported protocol version. Initialize with 2025-11-25, 2025-06-18 or 2025-03-26.",
  ),
  version_not_served: fault(
    400,
    -32022,
    "Bad request",
    "Unsupported protocol version. The versions that are served are in data.supported.",
  ),
  header_mismatch: fault(
    400,
    -32020,
    "Bad request",
    "A header says something else than the body, or is missing. MCP-Protocol-Version, Mcp-Method and Mcp-Name must repeat the body.",
  ),
  meta_required: fault(
    400,
    -32602,
    "Invalid message",
    "Each request of this protocol version needs protocolVersion and clientCapabilities in its _meta; data.envelope says which is missing or wrong.",
  ),
  batch_too_long: fault(400, -32600, "Invalid message", "A batch has at most 100 messages and is not empty."),
  tool_not_allowed: fault(
    403,
    -32602,
    "Forbidden",
    "This API key may not use anything of this name, whether or not it exists. The operator sets that in MCP_KEY_SCOPES.",
  ),
  answer_lost: fault(
    502,
    -32603,
    "Bad gateway",
    "The answer to this request is no longer here. It may or may not have been carried out: send it again if that is safe.",
  ),
  event_unknown: fault(
    400,
    -32600,
    "Bad request",
    "The stream that Last-Event-ID names is not known any more. Open one without it.",
  ),

  // The session
  session_not_found: fault(
    404,
    -32001,
    "Invalid session",
    "The session is unknown or has expired. Begin a new one: GET /mcp/sse, or initialize at /mcp.",
  ),
  session_elsewhere: fault(
    503,
    -32000,
    "Service temporarily unavailable",
    "The session lives on another instance of the gateway. Send the message again.",
    1,
  ),
  owner_unreachable: fault(
    503,
    -32000,
    "Service temporarily unavailable",
    "The instance that holds the session cannot be reached. The message was not delivered: send it again.",
    1,
  ),
  delivery_unknown: fault(
    504,
    -32000,
    "Gateway timeout",
    "The instance that holds the session did not confirm the message in time. It may or may not have been carried out.",
  ),
  store_unavailable: fault(
    503,
    -32000,
    "Service temporarily unavailable",
    "The session store cannot be reached. Send the message again shortly.",
    2,
  ),
  too_many_sessions: fault(
    429,
    -32000,
    "Too many requests",
    "This API key has as many open sessions as it may have. Close one first.",
    5,
  ),
  overloaded: fault(
    503,
    -32000,
    "Service temporarily unavailable",
    "This instance holds as many sessions as it can. Try again shortly.",
    5,
  ),
  draining: fault(
    503,
    -32000,
    "Service temporarily unavailable",
    "This instance is shutting down. Connect again.",
    2,
  ),

  // The server behind
  upstream_busy: fault(
    503,
    -32000,
    "Service temporarily unavailable",
    "The MCP server behind the gateway does not take messages fast enough. Send it again.",
    1,
  ),
  upstream_queue_full: fault(
    503,
    -32000,
    "Service temporarily unavailable",
    "Too many MCP servers are starting at once. Send the message again.",
    5,
  ),
  upstream_start_failed: fault(
    502,
    -32603,
    "Bad gateway",
    "The MCP server behind the gateway could not be started. The operator finds the cause in the log.",
  ),
  upstream_exited: fault(
    502,
    -32603,
    "Bad gateway",
    "The MCP server behind the gateway ended before it answered. Open a new stream and try again.",
  ),
  upstream_restarted: fault(
    502,
    -32603,
    "Bad gateway",
    "The MCP server behind the gateway was started again before it answered. It may or may not have carried the request out: send it again if that is safe.",
  ),
  upstream_message_too_large: fault(
    502,
    -32603,
    "Bad gateway",
    "The MCP server behind the gateway sent a message larger than the gateway carries. The operator can raise MAX_LINE_BYTES.",
  ),
  upstream_timeout: fault(
    504,
    -32603,
    "Gateway timeout",
    "The MCP server behind the gateway did not answer in time. The operator can raise REQUEST_TIMEOUT_SECONDS.",
  ),

  upstream_unavailable: fault(
    503,
    -32603,
    "Service temporarily unavailable",
    "The MCP server behind the gateway has failed too often and is left alone for a moment. Try again shortly.",
    10,
  ),
  upstream_unreachable: fault(
    502,
    -32603,
    "Bad gateway",
    "The remote MCP server cannot be reached, or did not answer as one. The operator finds the cause in the log.",
  ),
  upstream_refused: fault(
    502,
    -32603,
    "Bad gateway",
    "The remote MCP server refused the gateway. The operator must check the server's url and headers.",
  ),
  upstream_era: fault(
    400,
    -32000,
    "Bad request",
    "Unsupported protocol version: the MCP server behind the gateway speaks only versions with initialize.",
  ),
  upstream_cannot: fault(
    404,
    -32601,
    "Not supported",
    "The MCP server behind the gateway speaks another era of the protocol, in which this cannot be said.",
  ),

  internal: fault(
    500,
    -32603,
    "Internal error",
    "The gateway failed. The operator finds the cause in the log by the request id.",
  ),
} as const satisfies Record<string, FaultWords>;

/** The stable name of a foreseen fault. */
export type Reason = keyof typeof FAULTS;

export interface GatewayErrorOptions extends ErrorOptions {
  /** What the protocol wants told beside the reason, in the `data` of a JSON-RPC error. */
  data?: Readonly<Record<string, unknown>>;
}

/** The one error that the gateway throws on purpose; anything else is a bug and answers 500. */
export class GatewayError extends Error {
  readonly reason: Reason;
  readonly data: Readonly<Record<string, unknown>> | undefined;

  constructor(reason: Reason, options?: GatewayErrorOptions) {
    super(FAULTS[reason].message, options);
    this.name = "GatewayError";
    this.reason = reason;
    this.data = options?.data;
  }

  get words(): FaultWords {
    return FAULTS[this.reason];
  }
}

/** A wrong setting or a store that refuses our credentials: the process ends with this message and exit code 2. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  /** @param problems one line each, naming a setting and never its value. */
  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join("\n"), options);
    this.name = "ConfigError";
    this.problems = problems;
  }
}
