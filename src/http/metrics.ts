import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { answerError, answerText } from "./answer.ts";
import { createDoor, listen } from "./door.ts";
import type { Route } from "./routes.ts";

export const METRICS_PATH = "/metrics";

/** All metrics as text. */
export type ReadMetrics = () => Promise<{ contentType: string; body: string }>;

export interface MetricsRouteParts {
  scrape: ReadMetrics;
  /** What `Authorization: Bearer` must say. No API key opens this route, and this opens no other. */
  token: string;
  /** Told of each wrong token. May throw the fault that is answered then. */
  countFailure?: (req: IncomingMessage) => void;
}

/** `/metrics` on the port that everybody sees. Throws `api_key_missing` or `api_key_invalid`. */
export function createMetricsRoute({ scrape, token, countFailure }: MetricsRouteParts): Route {
  const wanted = digest(token);
  return async (req, res) => {
    const shown = /^bearer +(.+)$/i.exec(req.headers.authorization ?? "")?.[1];
    if (shown === undefined) throw new GatewayError("api_key_missing");
    if (!timingSafeEqual(digest(shown), wanted)) {
      countFailure?.(req);
      throw new GatewayError("api_key_invalid");
    }
    await answerMetrics(res, scrape);
  };
}

export interface MetricsPortParts {
  /** 0 draws a free one. */
  port: number;
  /** Undefined: all interfaces. */
  host: string | undefined;
  scrape: ReadMetrics;
  log: Log;
}

export interface MetricsPort {
  readonly port: number;
  /** Cuts what is open. Safe to call twice. */
  close(): Promise<void>;
}

/** A scraper or two, and somebody who looks. */
const MAX_CONNECTIONS = 20;

/** Answers `/metrics` without a key on a port of its own, and nothing else. Rejects when it cannot listen there. */
export async function listenForMetrics({ port, host, scrape, log }: MetricsPortParts): Promise<MetricsPort> {
  const server = createDoor((req, res) => {
    answer(req, res, scrape).catch((error: unknown) => answerError(req, res, error, log));
  });
  server.maxConnections = MAX_CONNECTIONS;
  const taken = await listen(server, port, host);
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { port: taken, close: () => (closed ??= close()) };
}

async function answer(req: IncomingMessage, res: ServerResponse, scrape: ReadMetrics): Promise<void> {
  if (req.url?.split("?", 1)[0] !== METRICS_PATH) throw new GatewayError("not_found");
  if (req.method !== "GET" && req.method !== "HEAD") {
    res.setHeader("Allow", "GET, HEAD");
    throw new GatewayError("method_not_allowed");
  }
  await answerMetrics(res, scrape);
}

async function answerMetrics(res: ServerResponse, scrape: ReadMetrics): Promise<void> {
  const { contentType, body } = await scrape();
  answerText(res, 200, body, { "Content-Type": contentType });
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
