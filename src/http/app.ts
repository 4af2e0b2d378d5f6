import type { IncomingMessage, ServerResponse } from "node:http";
import cors from "cors";
import express, { type Express, type NextFunction, type Request, type Response } from "express";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { admit } from "./admit.ts";
import { answerError, answerJson } from "./answer.ts";
import { answerLive } from "./health.ts";
import { METRICS_PATH } from "./metrics.ts";
import { SSE_PATH } from "./open-stream.ts";
import { RELAY_PATH } from "./relay-message.ts";
import type { Route } from "./routes.ts";
import { answerRpcError } from "./rpc-answer.ts";
import { STREAMABLE_PATH } from "./streamable.ts";

export interface AppParts {
  openStream: Route;
  postMessage: Route;
  /** Streamable HTTP. */
  streamable: Route;
  /** Messages of other instances. */
  relayMessage: Route;
  guardOrigin: (req: IncomingMessage) => void;
  allowedOrigins: readonly string[];
  /** `/health/ready`. */
  ready: Route;
  /** `/health/store`. */
  storeHealth: Route;
  /** `/metrics`. Undefined when there are none on this port. */
  metrics: Route | undefined;
  /** Throws for a request without a valid key. */
  requireKey: (req: IncomingMessage) => void;
  log: Log;
}

/** Where nothing but Streamable HTTP is spoken. */
const STREAMABLE = /^\/(?:servers\/[^/?]+\/)?mcp(?:\?|$)/;
/** Where clients look for OAuth before they say what went wrong. */
const OAUTH_PATHS = /^\/(?:\.well-known\/.*|register|authorize|token)$/;

/** The Express app: routes and guards, in the order in which a request meets them. */
export function createApp(parts: AppParts): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.set("query parser", false);
  app.enable("case sensitive routing");
  app.enable("strict routing");

  app.use((req, _res, next) => (admit(req), next()));

  // Probes name hosts of their own, and nothing here is secret.
  app.all(
    ["/health", "/health/live"],
    only(["GET", "HEAD"], (_req, res) => answerLive(res)),
  );
  app.all("/health/ready", only(["GET", "HEAD"], parts.ready));
  app.all("/health/store", only(["GET", "HEAD"], parts.storeHealth));
  if (parts.metrics !== undefined) app.all(METRICS_PATH, only(["GET", "HEAD"], parts.metrics));

  // Other instances call an address, not a name, and prove themselves.
  app.all(RELAY_PATH, parts.relayMessage);

  app.use((req, _res, next) => (parts.guardOrigin(req), next()));
  const answerOrigin = cors({
    origin: [...parts.allowedOrigins],
    methods: ["GET", "POST", "DELETE"],
    allowedHeaders: [
      "Authorization",
      "X-API-Key",
      "X-Client-Id",
      "Content-Type",
      "Last-Event-ID",
      "Mcp-Session-Id",
      "Mcp-Protocol-Version",
      "Mcp-Method",
      "Mcp-Name",
    ],
    exposedHeaders: ["Mcp-Session-Id", "X-Request-Id"],
    maxAge: 600,
  });
  app.use((req, res, next) => (req.headers.origin === undefined ? next() : answerOrigin(req, res, next)));

  app.all([STREAMABLE_PATH, "/servers/:server/mcp"], parts.streamable);
  app.all([SSE_PATH, "/servers/:server/mcp/sse"], eitherTransport(parts));
  app.all("/messages", only(["POST"], parts.postMessage, parts.requireKey));
  app.all(
    "/",
    only(["GET"], (_req, res) =>
      answerJson(res, 200, {
        name: "mcp-sse-gateway",
        sse: SSE_PATH,
        streamable: STREAMABLE_PATH,
        health: "/health",
      }),
    ),
  );
  app.all(OAUTH_PATHS, () => {
    throw new GatewayError("oauth_not_offered");
  });

  app.use(() => {
    throw new GatewayError("not_found");
  });
  // Express knows an error handler by its four parameters.
  app.use((error: unknown, req: Request, res: Response, _next: NextFunction) => {
    const answer = STREAMABLE.test(req.url) ? answerRpcError : answerError;
    answer(req, res, error, parts.log);
  });
  return app;
}

/** Clients that are told a URL and not its transport try Streamable HTTP first: at the stream's URL it just works. */
function eitherTransport({ openStream, streamable, requireKey }: AppParts): Route {
  const sse = only(["GET", "POST", "DELETE"], openStream, requireKey);
  return (req, res) => {
    const isStreamable = req.method === "POST" || req.headers["mcp-session-id"] !== undefined;
    return isStreamable || req.method === "DELETE" ? streamable(req, res) : sse(req, res);
  };
}

/** A route for some methods; others are answered 405, to those who may know that the path is there. */
function only(methods: readonly string[], route: Route, requireKey?: (req: IncomingMessage) => void): Route {
  return (req: IncomingMessage, res: ServerResponse) => {
    if (methods.includes(req.method as string)) return route(req, res);
    requireKey?.(req);
    res.setHeader("Allow", methods.join(", "));
    throw new GatewayError("method_not_allowed");
  };
}
