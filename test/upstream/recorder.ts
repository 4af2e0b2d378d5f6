import { Writable } from "node:stream";
import { createLog, type Log } from "../../src/log.ts";
import type { LinkEnd, LinkEvents } from "../../src/upstream/upstream.ts";

export interface Message {
  id?: number | string;
  method?: string;
  params?: Record<string, unknown>;
  result?: { content?: { text?: string }[] } & Record<string, unknown>;
  error?: { code: number; message: string };
}

/** The receiving end of a link: keeps what comes, and lets a test wait for it. */
export class Recorder implements LinkEvents {
  readonly messages: Message[] = [];
  readonly ends: LinkEnd[] = [];
  /** Called at each message, before those who wait for it. */
  onEach: ((message: Message) => void) | undefined;
  readonly #waiting = new Set<() => void>();

  onMessage(message: Buffer): void {
    const parsed = JSON.parse(message.toString()) as Message;
    this.messages.push(parsed);
    this.onEach?.(parsed);
    for (const look of this.#waiting) look();
  }

  onEnd(end: LinkEnd): void {
    this.ends.push(end);
    for (const look of this.#waiting) look();
  }

  /** Waits until `condition` holds; looks at each message and at the end. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  async answer(id: number | string): Promise<Message> {
    const find = (): Message | undefined =>
      this.messages.find((message) => message.id === id && message.method === undefined);
    await this.until(() => find() !== undefined);
    return find() as Message;
  }

  async notification(method: string): Promise<Message> {
    const find = (): Message | undefined => this.messages.find((message) => message.method === method);
    await this.until(() => find() !== undefined);
    return find() as Message;
  }

  async end(): Promise<LinkEnd> {
    await this.until(() => this.ends.length > 0);
    return this.ends[0] as LinkEnd;
  }

  texts(): (string | undefined)[] {
    return this.messages.map((message) => message.result?.content?.[0]?.text);
  }
}

export const encode = (message: Message): Buffer =>
  Buffer.from(JSON.stringify({ jsonrpc: "2.0", ...message }));

export const call = (id: number | string, name: string, args: Record<string, unknown> = {}): Buffer =>
  encode({ id, method: "tools/call", params: { name, arguments: args, _meta: { progressToken: id } } });

/** How a send ended: `given`, or the reason it was refused for. */
export function outcomeOf(sent: Promise<unknown> | undefined): Promise<string> {
  return Promise.resolve(sent).then(
    () => "given",
    (error: { reason: string }) => error.reason,
  );
}

/** A log whose lines a test can read. */
export function captureLog(): { log: Log; text: () => string } {
  let text = "";
  const out = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  return { log: createLog("debug", out), text: () => text };
}

export const never = (): AbortSignal => new AbortController().signal;
