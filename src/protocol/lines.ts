/** Cuts a byte stream into lines. */
export interface LineReader {
  push(chunk: Buffer): void;
  /** Hands out a last line that has no line break. */
  end(): void;
}

export interface LineReaderOptions {
  /** The longest line that is handed out, in bytes without its line break. */
  maxLineBytes: number;
  /** One line without its line break, never empty, never changed afterwards. */
  onLine: (line: Buffer) => void;
  /** Called once, when a line is longer than `maxLineBytes`. Everything after that is ignored. */
  onTooLong: () => void;
}

const LF = 0x0a;
const CR = 0x0d;

/** Pieces below this are joined as they come, so that a line in one-byte chunks does not cost an object a byte. */
const SMALL_PIECE_BYTES = 4096;

/**
 * Reads lines that end in LF or CRLF; a lone CR belongs to its line. Looks at each byte once and joins a line once,
 * so that a long line costs no more a byte than a short one.
 */
export function createLineReader({ maxLineBytes, onLine, onTooLong }: LineReaderOptions): LineReader {
  let pieces: Buffer[] = [];
  let heldBytes = 0;
  let tooLong = false;

  function refuse(): void {
    tooLong = true;
    pieces = [];
    onTooLong();
  }

  function hold(piece: Buffer): void {
    const last = pieces.at(-1);
    if (last && last.length + piece.length < SMALL_PIECE_BYTES) {
      pieces[pieces.length - 1] = Buffer.concat([last, piece]);
    } else {
      pieces.push(piece);
    }
    heldBytes += piece.length;
    const trailingCr = piece[piece.length - 1] === CR ? 1 : 0;
    if (heldBytes - trailingCr > maxLineBytes) refuse();
  }

  function deliver(line: Buffer): void {
    if (line.length > maxLineBytes) refuse();
    else if (line.length > 0) onLine(line);
  }

  function deliverHeld(rest: Buffer): void {
    const line = Buffer.concat([...pieces, rest]);
    pieces = [];
    heldBytes = 0;
    deliver(withoutCr(line));
  }

  return {
    push(chunk) {
      let start = 0;
      for (let end = chunk.indexOf(LF); end !== -1 && !tooLong; end = chunk.indexOf(LF, start)) {
        if (heldBytes > 0) deliverHeld(chunk.subarray(start, end));
        else if (end > start) deliver(own(withoutCr(chunk.subarray(start, end))));
        start = end + 1;
      }
      if (start < chunk.length && !tooLong) hold(start === 0 ? chunk : chunk.subarray(start));
    },
    end() {
      if (heldBytes === 0 || tooLong) return;
      const line = Buffer.concat(pieces);
      pieces = [];
      heldBytes = 0;
      deliver(line);
    },
  };
}

const withoutCr = (line: Buffer): Buffer =>
  line[line.length - 1] === CR ? line.subarray(0, line.length - 1) : line;

/**
 * A view keeps its whole chunk alive (up to 64 KiB behind a small line that waits in an outbox), so only a line that
 * is most of its chunk stays a view.
 */
const own = (line: Buffer): Buffer => (line.length * 2 >= line.buffer.byteLength ? line : Buffer.from(line));
