const LINE_FEED = 10;

/**
 * Reads the events of a stream that ends its lines with LF or CRLF. A line in pieces is searched and joined once. Each
 * byte becomes one character: the generator sends and compares ASCII, and this is the cheapest way to read it.
 */
export class EventReader {
  #held: Buffer[] = [];
  #event = "message";
  #data: string | undefined;
  readonly #onEvent: (event: string, data: string) => void;

  constructor(onEvent: (event: string, data: string) => void) {
    this.#onEvent = onEvent;
  }

  push(bytes: Buffer): void {
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED, start)) {
      if (this.#held.length === 0) {
        this.#readLine(bytes.toString("latin1", start, end));
      } else {
        this.#held.push(bytes.subarray(start, end));
        const line = Buffer.concat(this.#held).toString("latin1");
        this.#held = [];
        this.#readLine(line);
      }
      start = end + 1;
    }
    if (start < bytes.length) this.#held.push(bytes.subarray(start));
  }

  #readLine(raw: string): void {
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
    if (line === "") this.#dispatch();
    else if (line.startsWith("data:")) {
      const value = line.slice(line.charCodeAt(5) === 32 ? 6 : 5);
      this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
    } else if (line.startsWith("event:")) {
      this.#event = line.slice(line.charCodeAt(6) === 32 ? 7 : 6);
    }
  }

  #dispatch(): void {
    const event = this.#event;
    const data = this.#data;
    this.#event = "message";
    this.#data = undefined;
    if (data !== undefined) this.#onEvent(event, data);
  }
}
