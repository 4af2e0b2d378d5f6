type State = "head" | "body" | "chunk-size" | "chunk" | "chunk-end" | "trailer";

const LINE_FEED = 10;
const SEMICOLON = 59;

export interface ResponseSink {
  /** `head` is all up to the empty line. */
  onHead(status: number, head: string): void;
  onBody(bytes: Buffer): void;
  onEnd(): void;
}

/** Reads the HTTP/1.1 responses of one connection, one after the other. No byte is looked at twice. */
export class ResponseReader {
  #state: State = "head";
  #head = "";
  /** Bytes left of the body or chunk; while a chunk's size is read, what is known of it. */
  #left = 0;
  #chunked = false;
  #inExtension = false;
  #lineLength = 0;
  readonly #sink: ResponseSink;

  constructor(sink: ResponseSink) {
    this.#sink = sink;
  }

  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) at = this.#step(bytes, at);
  }

  #step(bytes: Buffer, at: number): number {
    switch (this.#state) {
      case "head":
        return this.#readHead(bytes, at);
      case "body":
      case "chunk":
        return this.#readData(bytes, at);
      case "chunk-size":
        return this.#readChunkSize(bytes, at);
      case "chunk-end":
        if (bytes[at] === LINE_FEED) this.#expectChunk();
        return at + 1;
      case "trailer":
        return this.#readTrailer(bytes, at);
    }
  }

  #readHead(bytes: Buffer, at: number): number {
    const held = this.#head.length;
    const text = this.#head + bytes.toString("latin1", at);
    const end = text.indexOf("\r\n\r\n", Math.max(0, held - 3));
    if (end === -1) {
      this.#head = text;
      return bytes.length;
    }
    this.#head = "";
    this.#beginBody(text.slice(0, end));
    return at + end + 4 - held;
  }

  #beginBody(head: string): void {
    this.#sink.onHead(Number(head.slice(9, 12)), head);
    this.#chunked = /\r\ntransfer-encoding: *chunked/i.test(head);
    if (this.#chunked) {
      this.#expectChunk();
      return;
    }
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    this.#state = "body";
    this.#left = length === undefined ? Number.POSITIVE_INFINITY : Number(length);
    if (this.#left === 0) this.#finish();
  }

  #readData(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    this.#sink.onBody(bytes.subarray(at, end));
    if (this.#left === 0) {
      if (this.#chunked) this.#state = "chunk-end";
      else this.#finish();
    }
    return end;
  }

  #expectChunk(): void {
    this.#state = "chunk-size";
    this.#left = 0;
    this.#inExtension = false;
  }

  #readChunkSize(bytes: Buffer, at: number): number {
    for (let index = at; index < bytes.length; index += 1) {
      const byte = bytes[index] ?? 0;
      if (byte === LINE_FEED) {
        this.#state = this.#left === 0 ? "trailer" : "chunk";
        this.#lineLength = 0;
        return index + 1;
      }
      if (byte === SEMICOLON) this.#inExtension = true;
      const digit = hexDigit(byte);
      if (digit !== -1 && !this.#inExtension) this.#left = this.#left * 16 + digit;
    }
    return bytes.length;
  }

  #readTrailer(bytes: Buffer, at: number): number {
    for (let index = at; index < bytes.length; index += 1) {
      if (bytes[index] !== LINE_FEED) {
        this.#lineLength += 1;
        continue;
      }
      // One byte is the carriage return of the empty line that ends the trailer.
      if (this.#lineLength <= 1) {
        this.#finish();
        return index + 1;
      }
      this.#lineLength = 0;
    }
    return bytes.length;
  }

  #finish(): void {
    this.#state = "head";
    this.#sink.onEnd();
  }
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const letter = byte | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}
