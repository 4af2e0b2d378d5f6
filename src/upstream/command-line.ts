/** A run of plain characters, one escaped character, or a quoted part. */
const PART = /[^\s'"\\]+|\\[^]|'[^']*'|"(?:[^"\\]|\\[^])*"/y;
const SPACE = /\s+/y;

/**
 * Splits a command line into the program and its arguments, with quotes and backslashes as in a POSIX shell. Nothing
 * is ever expanded: `$`, backticks, `;`, `|` and `&&` are characters like any other. Throws an Error, in words for the
 * operator, when a quote is not closed.
 */
export function splitCommand(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    at += found?.length ?? 0;
    return found;
  };
  while (at < text.length) {
    if (take(SPACE) !== undefined) {
      if (word !== undefined) words.push(word);
      word = undefined;
      continue;
    }
    const part = take(PART);
    if (part === undefined) throw new Error(complaint(text, at));
    word = (word ?? "") + unquote(part);
  }
  if (word !== undefined) words.push(word);
  return words;
}

function unquote(part: string): string {
  if (part.startsWith("'")) return part.slice(1, -1);
  if (part.startsWith('"'))
    return part.slice(1, -1).replaceAll(/\\(?:(["\\$`])|\n)/g, (_, kept = "") => kept);
  if (part === "\\\n") return "";
  return part.startsWith("\\") ? part.slice(1) : part;
}

function complaint(text: string, at: number): string {
  if (text[at] === "\\") return "The command ends in a backslash that escapes nothing.";
  const quote = text[at] === "'" ? "single" : "double";
  return `The command has a ${quote} quote that is never closed.`;
}
