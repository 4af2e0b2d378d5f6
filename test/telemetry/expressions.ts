/** What a PromQL expression asks for: the metrics, and the labels that it matches or groups by. */
export interface Asked {
  metrics: Set<string>;
  labels: Set<string>;
}

const WORDS = new Set([
  "by",
  "without",
  "on",
  "ignoring",
  "group_left",
  "group_right",
  "and",
  "or",
  "unless",
  "bool",
]);
const GROUPING = /\b(?:by|without|on|ignoring)\s*\(([^)]*)\)/g;
const MATCHERS = /\{([^}]*)\}/g;

/** Reads names out of an expression. It knows as much of PromQL as our rules and dashboards use. */
export function askedBy(expression: string): Asked {
  const bare = expression.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""').replaceAll(/\[[^\]]*\]/g, "");
  const labels = new Set<string>();
  const listed = (text: string) => text.split(",").map((label) => label.trim());
  for (const [, inside = ""] of bare.matchAll(GROUPING))
    for (const label of listed(inside)) labels.add(label);
  for (const [, inside = ""] of bare.matchAll(MATCHERS))
    for (const matcher of listed(inside)) labels.add(matcher.replace(/\s*(?:=~|!~|!=|=).*/, ""));
  labels.delete("");
  const metrics = new Set<string>();
  const rest = bare.replaceAll(GROUPING, " ").replaceAll(MATCHERS, " ");
  for (const { 0: word, index } of rest.matchAll(/[a-zA-Z_:][\w:]*/g)) {
    const isCall = /^\s*\(/.test(rest.slice(index + word.length));
    if (!isCall && !WORDS.has(word)) metrics.add(word);
  }
  return { metrics, labels };
}
