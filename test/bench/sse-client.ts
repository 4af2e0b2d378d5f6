import { type Socket, connect } from "node:net";
import { EventReader } from "./load/event-reader.ts";
import { PostConnection, headLines } from "./load/post-connection.ts";
import { ResponseReader } from "./load/response-reader.ts";
import type { Target } from "./target.ts";

const WITHIN_MS = 30_000;
const PING = ": ping";
export const INITIALIZE = {
  protocolVersion: "2025-06-18",
  capabilities: {},
  clientInfo: { name: "bench", version: "1.0.0" },
};

interface Message {
  id?: number;
  method?: string;
  result?: { content?: { text?: string }[]; tools?: { name: string }[] };
  error?: { message: string };
}

/** One HTTP+SSE client in the bench's own process, for what the generator does not do: not to read, to count heartbeats. */
export class SseClient {
  /** From the connect to the first `endpoint`. */
  endpointMs = Number.NaN;
  /** Heartbeats that came. */
  pings = 0;
  #path = "";
  #nextId = 0;
  #isClosed = false;
  readonly #target: Target;
  readonly #port: number;
  readonly #socket: Socket;
  readonly #waiting = new Map<number, (message: Message | undefined) => void>();
  readonly #posts: PostConnection[] = [];
  #idlePosts: PostConnection[] = [];

  private constructor(target: Target, port: number) {
    this.#target = target;
    this.#port = port;
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.setNoDelay(true);
    const head = headLines(port, { Accept: "text/event-stream", ...target.headers });
    this.#socket.write(`GET ${target.path} HTTP/1.1\r\n${head}\r\n`, "latin1");
  }

  /** Resolves when the `endpoint` event is in. */
  static async open(target: Target, port: number): Promise<SseClient> {
    if (target.transport !== "sse") throw new Error(`${target.name} is no HTTP+SSE server`);
    const startedAt = performance.now();
    const client = new SseClient(target, port);
    try {
      client.#path = await client.#readEndpoint();
    } catch (error) {
      client.close();
      throw error;
    }
    client.endpointMs = performance.now() - startedAt;
    return client;
  }

  /** The port that it came from. */
  get ownPort(): number {
    return this.#socket.localPort ?? 0;
  }

  async shakeHands(): Promise<void> {
    await this.request("initialize", INITIALIZE);
    await this.post({ method: "notifications/initialized" });
  }

  /** The name of the echo tool: gateways may prefix it. */
  async findEcho(): Promise<string> {
    const echo = (await this.request("tools/list", {})).result?.tools?.find(({ name }) =>
      name.endsWith("echo"),
    );
    if (echo === undefined) throw new Error("no echo tool is listed");
    return echo.name;
  }

  /** The text that the echo tool answers with; it is padded to `size` characters. */
  async echo(tool: string, text: string, size: number): Promise<string | undefined> {
    const { result } = await this.request("tools/call", { name: tool, arguments: { text, size } });
    return result?.content?.[0]?.text;
  }

  /** @throws when it is refused, answered with an error, or not answered within 30 s. */
  async request(method: string, params: object): Promise<Message> {
    const id = this.#nextId;
    this.#nextId += 1;
    const answer = new Promise<Message>((resolve, reject) => {
      const give = (message: Message | undefined): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        if (message !== undefined) resolve(message);
        else reject(new Error(`the stream ended, or said nothing for 30 s, before the answer to ${method}`));
      };
      const timer = setTimeout(give, WITHIN_MS, undefined);
      this.#waiting.set(id, give);
    });
    const [message] = await Promise.all([answer, this.post({ id, method, params })]);
    if (message.error !== undefined) throw new Error(`${method}: ${message.error.message}`);
    return message;
  }

  /** Resolves when the message is accepted; several at a time take a connection each. */
  async post(message: { id?: number; method: string; params?: object }): Promise<void> {
    const connection = this.#idlePosts.pop() ?? this.#openPost();
    const body = JSON.stringify({ jsonrpc: "2.0", ...message });
    const status = await new Promise<number>((resolve) => connection.post(this.#path, body, resolve));
    this.#idlePosts.push(connection);
    if (status !== 202) throw new Error(`${message.method} was answered ${status}`);
  }

  /** Gives up the connections of its POSTs, so that the stream is all that it holds. */
  closePosts(): void {
    for (const connection of this.#posts.splice(0)) connection.close();
    this.#idlePosts = [];
  }

  /** Reads nothing more: what comes stays in the kernel's buffers, and then at the server. */
  stopReading(): void {
    this.#socket.pause();
  }

  close(): void {
    this.#isClosed = true;
    this.closePosts();
    this.#socket.destroy();
  }

  #openPost(): PostConnection {
    if (this.#isClosed) throw new Error("the client is closed");
    const connection = new PostConnection(this.#port, this.#target.headers);
    this.#posts.push(connection);
    return connection;
  }

  #readEndpoint(): Promise<string> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no endpoint event within 30 s")), WITHIN_MS);
      let status = 0;
      const events = new EventReader((event, data) => {
        if (event === "message") this.#take(JSON.parse(data) as Message);
        else if (event === "endpoint") {
          clearTimeout(timer);
          const url = new URL(data, "http://127.0.0.1");
          resolve(url.pathname + url.search);
        }
      });
      const reader = new ResponseReader({
        onHead: (read) => (status = read),
        onBody: (bytes) => {
          if (bytes.length < 100 && bytes.includes(PING)) this.pings += 1;
          events.push(bytes);
        },
        onEnd: () => this.#socket.destroy(),
      });
      this.#socket.on("data", (bytes) => reader.push(bytes as Buffer));
      this.#socket.on("error", () => undefined);
      this.#socket.on("close", () => {
        clearTimeout(timer);
        reject(new Error(`the stream was answered ${status} and ended`));
        for (const give of this.#waiting.values()) give(undefined);
      });
    });
  }

  #take(message: Message): void {
    // The server's own requests and notifications are nobody's answer.
    if (message.id !== undefined && message.method === undefined) this.#waiting.get(message.id)?.(message);
  }
}
