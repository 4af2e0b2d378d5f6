/** Every package that the running gateway needs directly, and what it is for. A new one needs a reason here. */
export const REASONS: Record<string, string> = {
  "@modelcontextprotocol/sdk": "the built-in MCP server, and the types of the protocol",
  "@opentelemetry/api": "spans, for who registers an SDK of their own; does nothing otherwise",
  "@upstash/redis": "the session store on Upstash, over REST",
  cors: "the CORS headers of allowed web origins",
  dotenv: "reads .env",
  "eventsource-parser": "the events of remote servers",
  express: "the routes",
  ioredis: "the session store on Redis, over TCP",
  "lru-cache": "bounded tables: wrong keys by address, look-ups of foreign sessions",
  pino: "the log, one JSON object a line",
  "pino-pretty": "the log on a terminal",
  "prom-client": "the metrics, in the format of Prometheus",
  undici: "HTTP connections with deadlines and a pool of their own",
  zod: "the settings: their shapes and the words for wrong ones",
};
