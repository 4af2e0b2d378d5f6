/** More are forgotten, the oldest first; what is forgotten is asked for again. */
const MAX_KNOWN = 4000;
const MAX_TEMPLATES = 1000;
const MAX_LENGTH = 1024;

/** Which member has which resource, template and task, as far as the members' own lists and answers have told. */
export class Owners {
  readonly #uris = new Map<string, string>();
  readonly #templates = new Map<string, Template>();
  readonly #tasks = new Map<string, string>();

  /** A member lists this resource. The first that does has it. */
  learnUri(uri: string, server: string): void {
    keep(this.#uris, uri, server, MAX_KNOWN);
  }

  learnTemplate(text: string, server: string): void {
    keep(this.#templates, text, { server, literals: literalsOf(text) }, MAX_TEMPLATES);
  }

  learnTask(taskId: string, server: string): void {
    keep(this.#tasks, taskId, server, MAX_KNOWN);
  }

  ofTask(taskId: string): string | undefined {
    return this.#tasks.get(taskId);
  }

  /** Who lists exactly this: a resource, or a template by its own text. */
  ofUri(uri: string): string | undefined {
    return this.#uris.get(uri) ?? this.#templates.get(uri)?.server;
  }

  /** Who has a template that this may be made of, in the order in which they were learned. */
  byTemplate(uri: string): string[] {
    const servers = new Set<string>();
    for (const { server, literals } of this.#templates.values()) {
      if (isMadeOf(uri, literals)) servers.add(server);
    }
    return [...servers];
  }
}

interface Template {
  readonly server: string;
  /** What stands between the expressions. */
  readonly literals: readonly string[];
}

function keep<V>(map: Map<string, V>, key: string, value: V, limit: number): void {
  if (key.length > MAX_LENGTH || map.has(key)) return;
  map.set(key, value);
  if (map.size > limit) map.delete(map.keys().next().value as string);
}

const literalsOf = (template: string): string[] => template.split(/\{[^{}]*\}/);

/** An expression may stand for anything here: a wrong guess costs one question to the wrong member. */
function isMadeOf(uri: string, literals: readonly string[]): boolean {
  const first = literals[0] as string;
  const last = literals.at(-1) as string;
  if (literals.length === 1) return uri === first;
  if (uri.length < first.length + last.length || !uri.startsWith(first) || !uri.endsWith(last)) return false;
  let at = first.length;
  for (const literal of literals.slice(1, -1)) {
    const found = uri.indexOf(literal, at);
    if (found < 0) return false;
    at = found + literal.length;
  }
  return at <= uri.length - last.length;
}
