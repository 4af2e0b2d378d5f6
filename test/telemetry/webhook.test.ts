import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLog } from "../../src/log.ts";
import { type Notice, openWebhook, type Webhook, type WebhookOptions } from "../../src/telemetry/webhook.ts";
import { eventually } from "../support/eventually.ts";

interface Posted {
  headers: IncomingHttpHeaders;
  body: string;
  path: string;
}

let server: Server;
let posted: Posted[];
/** What the receiver does with each post, the last for all that follow. */
let script: ((response: ServerResponse, url: string) => void)[];
let lines: Record<string, unknown>[];
let waits: number[];
let open: Webhook[];
let port: number;

beforeEach(async () => {
  posted = [];
  script = [];
  lines = [];
  waits = [];
  open = [];
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      posted.push({ headers: request.headers, body, path: `${request.method} ${request.url}` });
      const act = script.length > 1 ? script.shift() : script[0];
      if (act === undefined) response.writeHead(204).end();
      else act(response, request.url as string);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  port = (server.address() as AddressInfo).port;
});

afterEach(async () => {
  for (const webhook of open) await webhook.close();
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
});

const NOW = Date.parse("2026-01-02T03:04:05.678Z");
const SECRET = "0123456789abcdef";

function linesLog() {
  const out = { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) > 0 };
  return createLog("info", out as unknown as NodeJS.WritableStream);
}

function webhook(options: Partial<WebhookOptions> = {}): Webhook {
  const opened = openWebhook({
    url: `http://127.0.0.1:${port}/hook/path-secret?token=query-secret`,
    log: linesLog(),
    now: () => NOW,
    random: () => 0.5,
    wait: async (ms) => waits.push(ms),
    ...options,
  });
  open.push(opened);
  return opened;
}

const notice = (rest: Partial<Notice> = {}): Notice => ({
  alert: "store_down",
  state: "raised",
  value: 1,
  threshold: 1,
  instance: "i-1",
  at: "2026-01-02T03:04:05.000Z",
  ...rest,
});

const status =
  (code: number, headers: Record<string, string> = {}) =>
  (response: ServerResponse) => {
    response.writeHead(code, headers).end("not for us");
  };
const cut = (response: ServerResponse) => {
  response.destroy();
};
const taken = status(200);

const bodies = () => posted.map(({ body }) => JSON.parse(body) as Notice & { version: number });
const arrived = (count: number) => eventually(() => expect(posted).toHaveLength(count));

describe("a post", () => {
  it("says what happened, under a key of its own", async () => {
    const hook = webhook();
    hook.send(notice({ alert: "crash_looping", server: "files", value: 7, threshold: 5 }));
    hook.send(notice());
    await arrived(2);
    expect(bodies()).toEqual([
      {
        version: 1,
        alert: "crash_looping",
        server: "files",
        state: "raised",
        value: 7,
        threshold: 5,
        instance: "i-1",
        at: "2026-01-02T03:04:05.000Z",
      },
      { version: 1, ...notice() },
    ]);
    expect(posted[0]?.path).toBe("POST /hook/path-secret?token=query-secret");
    expect(posted[0]?.headers).toMatchObject({ "content-type": "application/json" });
    expect(posted[0]?.headers).not.toHaveProperty("x-signature");
    expect(posted[0]?.headers).not.toHaveProperty("authorization");
    const [one, two] = posted.map(({ headers }) => headers["idempotency-key"]);
    expect(one).toMatch(/^[0-9a-f-]{36}$/);
    expect(two).not.toBe(one);
  });

  it("is signed, so that a receiver can tell it from another's or an old one", async () => {
    webhook({ secret: SECRET }).send(notice());
    await arrived(1);
    const { headers, body } = posted[0] as Posted;
    expect(headers["x-timestamp"]).toBe(String(Math.floor(NOW / 1000)));
    const wanted = createHmac("sha256", SECRET).update(`${headers["x-timestamp"] as string}.${body}`);
    const given = Buffer.from((headers["x-signature"] as string).replace("sha256=", ""), "hex");
    expect(timingSafeEqual(wanted.digest(), given)).toBe(true);
  });

  it("shows the user of the URL as a credential", async () => {
    webhook({ url: `http://me:p%40ss@127.0.0.1:${port}/` }).send(notice());
    await arrived(1);
    expect(posted[0]?.headers.authorization).toBe(`Basic ${Buffer.from("me:p@ss").toString("base64")}`);
  });

  it("follows no redirect", async () => {
    script = [status(307, { Location: "/elsewhere" })];
    const hook = webhook();
    hook.send(notice());
    hook.send(notice({ state: "cleared", alert: "latency" }));
    await arrived(2);
    expect(posted.map(({ path }) => path)).toEqual(Array(2).fill(posted[0]?.path));
    expect(waits).toEqual([]);
  });
});

describe("a receiver that fails", () => {
  it("is asked again under the same key, later and later, until it takes the alert", async () => {
    script = [status(500), cut, status(503), status(408), status(502), taken];
    webhook({ secret: SECRET }).send(notice());
    await arrived(6);
    expect(waits).toEqual([2000, 6000, 18_000, 54_000, 120_000]);
    expect(
      new Set(posted.map(({ headers, body }) => `${headers["idempotency-key"] as string}${body}`)).size,
    ).toBe(1);
    await eventually(() => expect(lines).toHaveLength(2));
  });

  it("is asked at times that differ by chance", async () => {
    script = [status(500), taken];
    webhook({ random: () => 0 }).send(notice());
    await arrived(2);
    webhook({ random: () => 0.999 }).send(notice());
    script = [status(500), taken];
    await arrived(4);
    expect(waits.map((ms) => Math.round(ms / 10))).toEqual([150, 250]);
  });

  it.each([
    ["30", 30_000],
    [new Date(NOW + 40_322).toUTCString(), 40_322],
    ["1", 2000],
    ["soon", 2000],
    ["-5", 2000],
    ["99999999", 300_000],
  ])("is left alone for as long as it asks, within bounds: %s", async (retryAfter, expected) => {
    script = [status(429, { "Retry-After": retryAfter }), taken];
    webhook().send(notice());
    await arrived(2);
    // A date has no milliseconds.
    expect(Math.abs((waits[0] as number) - expected)).toBeLessThan(1000);
  });

  it.each([400, 401, 404, 410])("is not asked again after %i", async (code) => {
    script = [status(code), taken];
    const hook = webhook();
    hook.send(notice());
    hook.send(notice({ alert: "latency" }));
    await arrived(2);
    expect(bodies().map(({ alert }) => alert)).toEqual(["store_down", "latency"]);
    expect(waits).toEqual([]);
  });

  it("is given up after six tries, and the next alert has its own", async () => {
    script = [status(500)];
    const hook = webhook();
    hook.send(notice());
    hook.send(notice({ alert: "latency" }));
    await arrived(12);
    expect(bodies().map(({ alert }) => alert)).toEqual([
      ...Array<string>(6).fill("store_down"),
      ...Array<string>(6).fill("latency"),
    ]);
    await eventually(() => expect(waits).toHaveLength(10));
  });

  it("is told of in one line when it begins and one when it ends, without a secret", async () => {
    script = [...Array<typeof taken>(7).fill(status(500)), cut, taken];
    const hook = webhook({ url: `http://me:user-secret@127.0.0.1:${port}/path-secret?t=query-secret` });
    hook.send(notice());
    hook.send(notice({ alert: "latency" }));
    await eventually(() => expect(lines).toHaveLength(2));
    expect(lines).toMatchObject([
      { level: "warn", webhook: `127.0.0.1:${port}`, why: "status 500" },
      { level: "info", webhook: `127.0.0.1:${port}`, lost: 1 },
    ]);
    hook.send(notice({ alert: "slow_readers" }));
    await arrived(10);
    await hook.close();
    expect(lines).toHaveLength(2);
    expect(JSON.stringify(lines)).not.toContain("secret");
  });

  it("may not be there at all", async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
    webhook().send(notice());
    await eventually(() => expect(waits).toHaveLength(5));
    expect(lines).toMatchObject([{ level: "warn", why: "ECONNREFUSED" }]);
    expect(JSON.stringify(lines)).not.toContain("secret");
  });

  it("may hang: it is asked again after the time of one try", async () => {
    script = [() => undefined, taken];
    webhook({ timeoutMs: 20 }).send(notice());
    await arrived(2);
    expect(lines[0]).toMatchObject({ why: "TimeoutError" });
  });
});

describe("alerts that wait", () => {
  /** A webhook whose first alert is under way until `go` is called. */
  async function held() {
    let go = (): void => undefined;
    script = [(response) => void (go = () => void response.writeHead(200).end()), taken];
    const hook = webhook();
    hook.send(notice({ alert: "audit_lost" }));
    await arrived(1);
    return { hook, go };
  }

  it("are sent in order", async () => {
    const { hook, go } = await held();
    for (const alert of ["latency", "error_rate", "slow_readers"] as const) hook.send(notice({ alert }));
    hook.send(notice({ alert: "audit_lost", state: "cleared" }));
    go();
    await arrived(5);
    expect(bodies().map(({ alert, state }) => `${alert} ${state}`)).toEqual([
      "audit_lost raised",
      "latency raised",
      "error_rate raised",
      "slow_readers raised",
      "audit_lost cleared",
    ]);
  });

  it("are not sent when they are over before", async () => {
    const { hook, go } = await held();
    hook.send(notice({ alert: "latency" }));
    hook.send(notice({ alert: "crash_looping", server: "a" }));
    hook.send(notice({ alert: "crash_looping", server: "b" }));
    hook.send(notice({ alert: "latency", state: "cleared" }));
    hook.send(notice({ alert: "crash_looping", server: "a", state: "cleared" }));
    hook.send(notice({ alert: "error_rate" }));
    go();
    await arrived(3);
    expect(bodies().map(({ alert, server: of = "" }) => `${alert} ${of}`)).toEqual([
      "audit_lost ",
      "crash_looping b",
      "error_rate ",
    ]);
  });

  it("are a hundred at most, the newest", async () => {
    const { hook, go } = await held();
    for (let index = 0; index < 150; index += 1) {
      hook.send(notice({ alert: "crash_looping", server: `s-${index}` }));
    }
    go();
    await arrived(101);
    expect(
      bodies()
        .slice(1)
        .map(({ server: of }) => of),
    ).toEqual(Array.from({ length: 100 }, (_, index) => `s-${index + 50}`));
  });
});

describe("the close", () => {
  it("gives up a post under way, and what waits", async () => {
    script = [() => undefined];
    const hook = webhook();
    hook.send(notice());
    hook.send(notice({ alert: "latency" }));
    await arrived(1);
    await hook.close();
    await hook.close();
    hook.send(notice({ alert: "error_rate" }));
    expect(posted).toHaveLength(1);
    expect(lines).toEqual([]);
  });

  it("ends the wait for the next try", async () => {
    script = [status(500)];
    const hook = openWebhook({ url: `http://127.0.0.1:${port}/`, log: linesLog() });
    hook.send(notice());
    await eventually(() => expect(lines).toHaveLength(1));
    await hook.close();
    expect(posted).toHaveLength(1);
  });
});
