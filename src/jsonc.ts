const SPACE = /(?:\s+|\/\/[^\n]*|\/\*[^]*?\*\/)*/y;
const STRING = /"(?:[^"\\\n]|\\.)*"/y;
const WORD = /[\w.+-]+/y;
const MAX_DEPTH = 64;

/**
 * Reads JSON as people write it by hand: with `//` and block comments, and with a comma before a closing bracket.
 * Throws an Error for the operator that names the line and never shows the text, which may hold secrets. A member that
 * stands twice in one object is an error too: one of the two would be lost.
 */
export function parseJsonc(text: string): unknown {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw this.#error("it is nested too deep");
    if (this.#takes("{")) return this.#members(depth);
    if (this.#takes("[")) return this.#elements(depth);
    return this.#scalar(this.#match(STRING) ?? this.#match(WORD));
  }

  end(): void {
    this.#match(SPACE);
    if (this.#at < this.#text.length) throw this.#error("there must be nothing more");
  }

  #members(depth: number): Record<string, unknown> {
    const members: Record<string, unknown> = {};
    while (!this.#takes("}")) {
      const name = this.#name(members);
      if (!this.#takes(":")) throw this.#error("there must be a colon");
      members[name] = this.value(depth + 1);
      this.#separator("}");
    }
    return members;
  }

  #name(members: Record<string, unknown>): string {
    const token = this.#match(STRING);
    if (token === undefined) throw this.#error("there must be a name in double quotes");
    const name = this.#scalar(token) as string;
    if (name === "__proto__" || Object.hasOwn(members, name)) {
      throw this.#error(`${JSON.stringify(name.slice(0, 64))} cannot stand here, or stands twice`);
    }
    return name;
  }

  #elements(depth: number): unknown[] {
    const elements: unknown[] = [];
    while (!this.#takes("]")) {
      elements.push(this.value(depth + 1));
      this.#separator("]");
    }
    return elements;
  }

  #separator(end: string): void {
    if (this.#takes(",")) return;
    if (this.#text[this.#at] !== end) throw this.#error(`there must be a comma or ${end}`);
  }

  #scalar(token: string | undefined): unknown {
    try {
      return JSON.parse(token ?? "");
    } catch {
      throw this.#error("there must be text in double quotes, a number, true, false, null, { or [");
    }
  }

  #takes(sign: string): boolean {
    this.#match(SPACE);
    if (this.#text[this.#at] !== sign) return false;
    this.#at += 1;
    return true;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #error(words: string): Error {
    const before = this.#text.slice(0, this.#at).split("\n");
    return new Error(`line ${before.length}, column ${(before.at(-1) ?? "").length + 1}: ${words}`);
  }
}
