import { EventReader } from "./event-reader.ts";
import { type Message, readMessage } from "./message.ts";
import type { BodySink } from "./post-connection.ts";

/** Reads the messages in the responses of one connection: one as JSON, or several as events. */
export class AnswerReader implements BodySink {
  #form: "json" | "events" | "none" = "none";
  #pieces: Buffer[] = [];
  #events: EventReader;
  readonly #onMessage: (message: Message) => void;

  constructor(onMessage: (message: Message) => void) {
    this.#onMessage = onMessage;
    this.#events = this.#readEvents();
  }

  begin(status: number, head: string): void {
    // What goes with another status says why a request was refused, and the status is told already.
    if (status !== 200) this.#form = "none";
    else this.#form = /\r\ncontent-type: *text\/event-stream/i.test(head) ? "events" : "json";
  }

  push(bytes: Buffer): void {
    if (this.#form === "json") this.#pieces.push(bytes);
    else if (this.#form === "events") this.#events.push(bytes);
  }

  /** The response is complete, or its connection broke. */
  end(isComplete: boolean): void {
    const pieces = this.#pieces;
    if (pieces.length > 0) this.#pieces = [];
    if (!isComplete) {
      this.#events = this.#readEvents();
      return;
    }
    if (this.#form !== "json") return;
    const body = pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
    this.#onMessage(readMessage(body?.toString("latin1") ?? ""));
  }

  #readEvents(): EventReader {
    return new EventReader((_event, data) => {
      // An event without data only carries the id to resume from.
      if (data !== "") this.#onMessage(readMessage(data));
    });
  }
}
