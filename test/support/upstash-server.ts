/**
 * A stand-in for Upstash's REST API in front of a real Redis, faithful enough for the real `@upstash/redis` client.
 *
 * What an older Redis lacks, `SET … IFEQ` and `DELEX … IFEQ`, is carried out by a Lua script in one step and billed as
 * the one command it is on Upstash. Undocumented, and so a guess: the wording of refused commands and of malformed
 * requests, the status of quota and size errors (400 here), a pipeline in the resp2 format, line breaks in events, and
 * that a command that fails is billed.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

import { createCommands, type Bill } from "./upstash-commands.ts";
import {
  formatOf,
  readBody,
  readRequest,
  renderAnswer,
  renderEvent,
  tokenOf,
  type RestRequest,
} from "./upstash-http.ts";
import { openResp, type Command, type RespConnection } from "./upstash-resp.ts";

/** What goes wrong with one request. `executed` says whether its commands are carried out first. */
export type Fault =
  | { kind: "delay"; milliseconds: number }
  | { kind: "answer"; status: number; body: string; contentType?: string; executed?: boolean }
  /** The connection is closed (`drop`) or reset without an answer, or stays open without one (`hang`). */
  | { kind: "drop" | "reset" | "hang"; executed: boolean }
  /** The answer ends in the middle of its JSON. */
  | { kind: "truncate" }
  /** Reads find nothing, as in a read region that lags behind. */
  | { kind: "stale" };

export interface SeenRequest {
  /** Without its query. */
  path: string;
  headers: IncomingMessage["headers"];
  commands: readonly Command[];
}

export interface UpstashUnderTest {
  url: string;
  token: string;
  readOnlyToken: string;
  /** Commands on the bill so far; PING, INFO, AUTH, QUIT and COMMAND are free, a script costs 1 and 1 for each call in it. */
  billed(): number;
  billedByCommand(): Record<string, number>;
  resetBilled(): void;
  /** Every request with a valid token so far. */
  requests(): readonly SeenRequest[];
  /** TCP connections accepted so far. */
  connections(): number;
  /** Asks `plan` what to do to each request from now on; undefined lets it pass. */
  fail(plan: (request: SeenRequest) => Fault | undefined): void;
  /** Ends what `fail` began; requests that hang stay so until their connection closes. */
  heal(): void;
  /** From this many billed commands on, each is answered with the quota error; undefined for no end. */
  limitCommands(limit: number | undefined): void;
  /** Ends every open subscription, without a word. */
  cutStreams(): void;
  /** Stops listening and cuts everything. Safe to call twice. */
  close: () => Promise<void>;
}

export interface UpstashOptions {
  redisUrl: string;
  token?: string;
  readOnlyToken?: string;
  /** 10 MB by default, as on the free plan. */
  maxRequestBytes?: number;
  /** A free one by default. */
  port?: number;
}

const MEGABYTE = 1024 * 1024;

/** Starts the stand-in on 127.0.0.1. */
export async function startUpstash(options: UpstashOptions): Promise<UpstashUnderTest> {
  const { redisUrl, maxRequestBytes = 10 * MEGABYTE, port = 0 } = options;
  const token = options.token ?? randomBytes(24).toString("base64url");
  const readOnlyToken = options.readOnlyToken ?? randomBytes(24).toString("base64url");
  const commands = createCommands();
  const bill: Bill = commands.bill;
  const requests: SeenRequest[] = [];
  const streams = new Set<Socket>();
  let connections = 0;
  let replies = 0;
  let plan: (request: SeenRequest) => Fault | undefined = () => undefined;
  let redis: Promise<RespConnection> | undefined;

  /** The connection that all commands share; opened again after Redis went away. */
  function sharedRedis(): Promise<RespConnection> {
    redis ??= openResp(redisUrl).then(
      (connection) => {
        void connection.gone.then(() => (redis = undefined));
        return connection;
      },
      (error: unknown) => {
        redis = undefined;
        throw error;
      },
    );
    return redis;
  }

  const sayError = (response: ServerResponse, status: number, text: string): void =>
    void response
      .writeHead(status, { "content-type": "application/json" })
      .end(JSON.stringify({ error: text }));

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    const { method = "", url = "/" } = request;
    if (!["GET", "POST", "PUT", "HEAD"].includes(method))
      return sayError(response, 405, "ERR method not allowed");
    const shown = tokenOf(request);
    if (shown === undefined) return sayError(response, 401, "Unauthorized");
    if (shown !== token && shown !== readOnlyToken) {
      return sayError(response, 401, "WRONGPASS invalid or missing auth token");
    }
    if (body.length > maxRequestBytes) {
      const sizes = `Limit: ${maxRequestBytes} bytes, Actual: ${body.length} bytes`;
      const see = "See https://upstash.com/docs/redis/troubleshooting/max_request_size_exceeded for details";
      return sayError(response, 400, `ERR max request size exceeded. ${sizes}. ${see}`);
    }
    const format = formatOf(request);
    const read = readRequest(url, body);
    if (!read) return sayError(response, 400, "ERR failed to parse the request");
    if (format.resp2 && (format.base64 || read.form === "multi-exec")) {
      return sayError(response, 400, "ERR resp2 response format is not supported here");
    }
    const seen = { path: url.replace(/\?.*/, ""), headers: request.headers, commands: read.commands };
    requests.push(seen);
    const readOnly = shown === readOnlyToken;
    if (read.form === "stream") return stream(request, response, read);

    const fault = plan(seen);
    if (fault?.kind === "delay") await new Promise((resolve) => setTimeout(resolve, fault.milliseconds));
    const skips = fault && "executed" in fault && !fault.executed;
    if (skips || (fault?.kind === "answer" && !fault.executed)) return breakOff(response, fault);
    const all = await commands.run(await sharedRedis(), read.commands, {
      atomic: read.form === "multi-exec",
      readOnly,
      stale: fault?.kind === "stale",
    });
    if (fault && fault.kind !== "delay" && fault.kind !== "stale" && fault.kind !== "truncate") {
      return breakOff(response, fault);
    }
    const one = read.form === "command" && Array.isArray(all) ? all[0] : undefined;
    const { status, body: text } = renderAnswer(one ?? all, format);
    replies += 1;
    response.writeHead(status, {
      "content-type": format.resp2 ? "application/octet-stream" : "application/json",
      // It must change with every reply, or clients take an answer for an old one.
      "upstash-sync-token": Buffer.from(`${replies}`).toString("base64"),
    });
    response.end(fault?.kind === "truncate" ? text.subarray(0, Math.floor(text.length / 2)) : text);
  }

  function breakOff(response: ServerResponse, fault: Fault): void {
    if (fault.kind === "answer") {
      response
        .writeHead(fault.status, { "content-type": fault.contentType ?? "application/json" })
        .end(fault.body);
    } else if (fault.kind === "drop") {
      response.socket?.end();
    } else if (fault.kind === "reset") {
      response.socket?.resetAndDestroy();
    }
  }

  async function stream(
    { headers, socket }: IncomingMessage,
    response: ServerResponse,
    { commands: [command = []] }: RestRequest,
  ): Promise<void> {
    if (headers.accept !== "text/event-stream") {
      return sayError(response, 400, "ERR subscriptions need the header Accept: text/event-stream");
    }
    const refused = commands.charge(command.slice(0, 1));
    if (refused?.kind === "error") return sayError(response, 400, refused.text);
    const own = await openResp(redisUrl);
    streams.add(socket);
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    own.listen(command, (reply) => void response.write(renderEvent(reply)));
    void own.gone.then(() => response.end());
    response.once("close", () => {
      streams.delete(socket);
      own.close();
    });
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => {
      if (!response.headersSent) sayError(response, 500, "ERR internal error");
    });
  });
  // Without a hint how long connections may idle: whether Upstash gives one is not documented.
  server.keepAliveTimeout = 0;
  server.on("connection", () => (connections += 1));
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
    (await redis?.catch(() => undefined))?.close();
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token,
    readOnlyToken,
    billed: () => bill.total(),
    billedByCommand: () => bill.byCommand(),
    resetBilled: () => bill.reset(),
    requests: () => requests,
    connections: () => connections,
    fail: (next) => void (plan = next),
    heal: () => void (plan = () => undefined),
    limitCommands: (limit) => commands.limit(limit),
    cutStreams: () => {
      for (const socket of streams) socket.destroy();
    },
    close: () => (closing ??= close()),
  };
}
