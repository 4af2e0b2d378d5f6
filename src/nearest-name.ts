/** The known name that somebody who wrote `name` most likely meant. Undefined when none is near. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  // Who leaves the unit away means the one with it.
  const longer = known.find((other) => other.startsWith(`${name}_`));
  if (longer !== undefined) return longer;
  // Of a short name three letters are nearly all.
  const most = Math.min(3, Math.floor(name.length / 2));
  const [near] = known
    .map((other) => ({ other, away: distance(name, other) }))
    .filter(({ away }) => away <= most)
    .sort((one, other) => one.away - other.away);
  return near?.other;
}

/** Levenshtein's distance: how many letters to change, add or remove. */
function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (let line = 1; line <= one.length; line += 1) {
    const next = [line];
    for (let column = 1; column <= other.length; column += 1) {
      const change = (row[column - 1] as number) + (one[line - 1] === other[column - 1] ? 0 : 1);
      next.push(Math.min(change, (row[column] as number) + 1, (next[column - 1] as number) + 1));
    }
    row = next;
  }
  return row[other.length] as number;
}
