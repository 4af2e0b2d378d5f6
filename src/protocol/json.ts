/**
 * A walk over JSON text that checks all of it and builds nothing. Positions are byte offsets; a negative one says why
 * the walk stopped.
 */

/** JSON.parse accepts any depth, and JSON.stringify in the server behind dies from some 3,000 levels on. */
export const MAX_DEPTH = 128;
/** Members and array elements of one text, all levels below the first together. */
export const MAX_ELEMENTS = 50_000;

export const BROKEN = -1;
export const TOO_DEEP = -2;
export const TOO_MANY = -3;

export const QUOTE = 0x22;
export const COMMA = 0x2c;
export const COLON = 0x3a;
export const ARRAY = 0x5b;
export const OBJECT = 0x7b;
export const OBJECT_END = 0x7d;
const ARRAY_END = 0x5d;
const BACKSLASH = 0x5c;
/** After so many bytes without an escape a string is taken for a long one. */
const LONG_BYTES = 128;

/** Elements met so far in the running walk; walks never interleave. */
let elements = 0;

/** To be called before the first `skipValue` of a text. */
export function beginWalk(): void {
  elements = 0;
}

export function skipSpace(bytes: Buffer, at: number): number {
  for (;;) {
    const byte = bytes[at];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return at;
    at += 1;
  }
}

export function skipValue(bytes: Buffer, at: number, depth: number): number {
  switch (bytes[at]) {
    case QUOTE:
      return skipString(bytes, at);
    case OBJECT:
      return depth > MAX_DEPTH ? TOO_DEEP : skipObject(bytes, at, depth);
    case ARRAY:
      return depth > MAX_DEPTH ? TOO_DEEP : skipArray(bytes, at, depth);
    case 0x74:
      return skipWord(bytes, at, "true");
    case 0x66:
      return skipWord(bytes, at, "false");
    case 0x6e:
      return skipWord(bytes, at, "null");
    default:
      return skipNumber(bytes, at);
  }
}

function skipObject(bytes: Buffer, at: number, depth: number): number {
  at = skipSpace(bytes, at + 1);
  if (bytes[at] === OBJECT_END) return at + 1;
  for (;;) {
    if (bytes[at] !== QUOTE) return BROKEN;
    at = skipString(bytes, at);
    if (at < 0) return at;
    at = skipSpace(bytes, at);
    if (bytes[at] !== COLON) return BROKEN;
    at = skipValue(bytes, skipSpace(bytes, at + 1), depth + 1);
    if (at < 0) return at;
    if ((elements += 1) > MAX_ELEMENTS) return TOO_MANY;
    at = skipSpace(bytes, at);
    if (bytes[at] === OBJECT_END) return at + 1;
    if (bytes[at] !== COMMA) return BROKEN;
    at = skipSpace(bytes, at + 1);
  }
}

function skipArray(bytes: Buffer, at: number, depth: number): number {
  at = skipSpace(bytes, at + 1);
  if (bytes[at] === ARRAY_END) return at + 1;
  for (;;) {
    at = skipValue(bytes, at, depth + 1);
    if (at < 0) return at;
    if ((elements += 1) > MAX_ELEMENTS) return TOO_MANY;
    at = skipSpace(bytes, at);
    if (bytes[at] === ARRAY_END) return at + 1;
    if (bytes[at] !== COMMA) return BROKEN;
    at = skipSpace(bytes, at + 1);
  }
}

export function skipString(bytes: Buffer, at: number): number {
  let plainSince = at;
  for (at += 1; ; at += 1) {
    const byte = bytes[at];
    if (byte === QUOTE) return at + 1;
    if (byte === undefined || byte < 0x20) return BROKEN;
    if (byte === BACKSLASH) {
      at = skipEscape(bytes, at + 1);
      if (at < 0) return at;
      plainSince = at;
    } else if (at - plainSince === LONG_BYTES) {
      at = skipPlain(bytes, at + 1) - 1;
    }
  }
}

/** Where a long string has no quote and no backslash, so far is looked at first; four times as far each time after. */
const FIRST_WINDOW_BYTES = 256;

/**
 * Goes on past bytes that mean nothing in a string: to the next quote, backslash or control character, or the end. The
 * first two are found natively, in windows, so that a string of many escapes is not searched to its end at each.
 */
function skipPlain(bytes: Buffer, at: number): number {
  for (let size = FIRST_WINDOW_BYTES; ; size *= 4) {
    const to = Math.min(at + size, bytes.length);
    const window = bytes.subarray(at, to);
    const [quote, backslash] = [window.indexOf(QUOTE), window.indexOf(BACKSLASH)];
    const length = Math.min(quote < 0 ? window.length : quote, backslash < 0 ? window.length : backslash);
    const stop = skipPrintable(bytes, at, at + length);
    if (stop < to || to === bytes.length) return stop;
    at = to;
  }
}

/** The place of the first control character, or `end`. Looks at sixteen bytes at a time, which is many times as fast. */
function skipPrintable(bytes: Buffer, at: number, end: number): number {
  // Where words begin in memory, which is not where the text does.
  const start = Math.min(end, at + (-(bytes.byteOffset + at) & 3));
  for (; at < start; at += 1) if ((bytes[at] as number) < 0x20) return at;
  if (at === end) return end;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + start, (end - start) >> 2);
  let word = 0;
  for (const last = words.length - 4; word <= last; word += 4) {
    const below =
      belowSpace(words[word] as number) |
      belowSpace(words[word + 1] as number) |
      belowSpace(words[word + 2] as number) |
      belowSpace(words[word + 3] as number);
    if ((below & 0x80808080) !== 0) break;
  }
  for (at = start + word * 4; at < end; at += 1) if ((bytes[at] as number) < 0x20) return at;
  return end;
}

/** Of four bytes: a byte's high bit is left over only where it was below 0x20, or one before it was. */
const belowSpace = (word: number): number => (word - 0x20202020) & ~word;

/** Answers the position of the escape's last byte. */
function skipEscape(bytes: Buffer, at: number): number {
  switch (bytes[at]) {
    case QUOTE:
    case BACKSLASH:
    case 0x2f: // /
    case 0x62: // b
    case 0x66: // f
    case 0x6e: // n
    case 0x72: // r
    case 0x74: // t
      return at;
    case 0x75: // u
      for (let digit = 1; digit <= 4; digit += 1) if (!isHex(bytes[at + digit])) return BROKEN;
      return at + 4;
    default:
      return BROKEN;
  }
}

function isHex(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lower = byte | 0x20;
  return isDigit(byte) || (lower >= 0x61 && lower <= 0x66);
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

function skipWord(bytes: Buffer, at: number, word: string): number {
  for (let letter = 0; letter < word.length; letter += 1) {
    if (bytes[at + letter] !== word.charCodeAt(letter)) return BROKEN;
  }
  return at + word.length;
}

function skipNumber(bytes: Buffer, at: number): number {
  if (bytes[at] === 0x2d) at += 1;
  if (bytes[at] === 0x30) at += 1;
  else {
    const digits = skipDigits(bytes, at);
    if (digits === at) return BROKEN;
    at = digits;
  }
  if (bytes[at] === 0x2e) {
    const fraction = skipDigits(bytes, at + 1);
    if (fraction === at + 1) return BROKEN;
    at = fraction;
  }
  if (bytes[at] === 0x65 || bytes[at] === 0x45) {
    at += 1;
    if (bytes[at] === 0x2b || bytes[at] === 0x2d) at += 1;
    const exponent = skipDigits(bytes, at);
    if (exponent === at) return BROKEN;
    at = exponent;
  }
  return at;
}

function skipDigits(bytes: Buffer, at: number): number {
  while (isDigit(bytes[at])) at += 1;
  return at;
}
