/**
 * The first name that stands twice in one object of this text, which must be JSON. `JSON.parse` takes the last of them
 * and is silent about the others.
 */
export function repeatedMember(json: string): string | undefined {
  /** Names seen in each open object; undefined stands for an array. */
  const open: (Set<string> | undefined)[] = [];
  for (const [token, colon] of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (colon !== undefined) {
      const name = JSON.parse(token.slice(0, -colon.length)) as string;
      const names = open.at(-1);
      if (names?.has(name) === true) return name;
      names?.add(name);
    }
  }
  return undefined;
}
