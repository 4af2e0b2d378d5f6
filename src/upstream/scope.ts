/** What a key may use of the servers behind. Whatever it does not name is denied. */
export interface Scope {
  /** Whether anything of this server may be used. */
  mayUseServer(server: string): boolean;
  /**
   * Whether all of this server may be used: not its tools alone, but its resources, prompts, completions, subscriptions,
   * tasks and vendor methods too.
   */
  isWhole(server: string): boolean;
  /** Whether this tool may be called. Names are compared as they are, letter by letter. */
  mayCall(server: string, tool: string): boolean;
}

const ALL = "*";
const SERVER = /^[A-Za-z0-9_-]{1,64}$/;
const MAX_PATTERNS = 1000;
const MAX_TOOL_LENGTH = 256;

/**
 * Reads patterns that are separated by spaces: `files` is all of a server, `files/read` one of its tools,
 * `files/read_*` those whose names begin so, `files/*` its tools and nothing else of it, and `*` alone all of every
 * server. Answers the problem, in words for the operator, when the text is no scope.
 */
export function parseScope(text: string): Scope | string {
  const patterns = text.split(/\s+/).filter((pattern) => pattern !== "");
  if (patterns.length === 0) return "names nothing; write * for everything";
  if (patterns.length > MAX_PATTERNS) return `names more than ${MAX_PATTERNS} patterns`;
  const whole = new Set<string>();
  const tools = new Map<string, ToolPattern[]>();
  let isAll = false;
  for (const pattern of patterns) {
    if (pattern === ALL) {
      isAll = true;
      continue;
    }
    const slash = pattern.indexOf("/");
    const server = slash < 0 ? pattern : pattern.slice(0, slash);
    if (!SERVER.test(server)) return `"${pattern}" does not begin with a server's name`;
    if (slash < 0) {
      whole.add(server);
      continue;
    }
    const tool = pattern.slice(slash + 1);
    if (tool === "") return `"${pattern}" names no tool; leave the / away to name all of the server`;
    if (tool.length > MAX_TOOL_LENGTH) return `a tool has more than ${MAX_TOOL_LENGTH} letters`;
    tools.set(server, [...(tools.get(server) ?? []), toolPattern(tool)]);
  }
  const isWhole = (server: string): boolean => isAll || whole.has(server);
  return {
    isWhole,
    mayUseServer: (server) => isWhole(server) || tools.has(server),
    mayCall: (server, tool) =>
      isWhole(server) || (tools.get(server)?.some((matches) => matches(tool)) ?? false),
  };
}

type ToolPattern = (tool: string) => boolean;

/** Each piece between wildcards is looked for once, from where the last one ended: there is no going back. */
function toolPattern(pattern: string): ToolPattern {
  const pieces = pattern.split(ALL);
  if (pieces.length === 1) return (tool) => tool === pattern;
  const first = pieces[0] as string;
  const last = pieces.at(-1) as string;
  const middle = pieces.slice(1, -1);
  return (tool) => {
    if (tool.length < first.length + last.length || !tool.startsWith(first) || !tool.endsWith(last))
      return false;
    let at = first.length;
    for (const piece of middle) {
      const found = tool.indexOf(piece, at);
      if (found < 0) return false;
      at = found + piece.length;
    }
    return at <= tool.length - last.length;
  };
}
