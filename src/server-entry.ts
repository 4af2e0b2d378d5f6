import { z } from "zod";
import { nearestName } from "./nearest-name.ts";
import type { ServerConfig, ServerDefaults, ServerSettings } from "./server-config.ts";
import { SETTINGS } from "./settings.ts";
import { fillVariables } from "./variables.ts";

/** What reading one server's entry gave. */
export interface ReadEntry {
  /** Undefined when there are problems. */
  server: ServerConfig | undefined;
  /** The field and what is wrong with it, never its value. */
  problems: { field: string; words: string }[];
  warnings: { field: string; words: string }[];
}

const words = z.string("must be text in double quotes");
const texts = z.record(z.string(), words, "must be an object whose members are texts");
const asSetting = <T extends z.ZodType<unknown, string | undefined>>(shape: T) =>
  z
    .number("must be a whole number")
    .transform((value): string | undefined => String(value))
    .pipe(shape);

const LIMITS = {
  maxLineBytes: asSetting(SETTINGS.MAX_LINE_BYTES).optional(),
  maxChildren: asSetting(SETTINGS.MAX_CHILDREN).optional(),
  spawnConcurrency: asSetting(SETTINGS.SPAWN_CONCURRENCY).optional(),
  startSeconds: asSetting(SETTINGS.SERVER_START_SECONDS).optional(),
  restarts: asSetting(SETTINGS.SERVER_RESTARTS).optional(),
  poolSize: asSetting(SETTINGS.POOL_SIZE).optional(),
};
const FIELDS = {
  type: words.optional(),
  transport: words.optional(),
  transportType: words.optional(),
  command: words.min(1, "must not be empty").optional(),
  args: z.array(words, "must be a list of texts").optional(),
  env: texts.optional(),
  cwd: words.min(1, "must not be empty").optional(),
  url: words.optional(),
  serverUrl: words.optional(),
  httpUrl: words.optional(),
  headers: texts.optional(),
  model: SETTINGS.MCP_SERVER_MODEL.unwrap().optional(),
  discovery: SETTINGS.MCP_SERVER_DISCOVERY.unwrap().optional(),
  idle: asSetting(SETTINGS.SERVER_IDLE_SECONDS).optional(),
  limits: z.object(LIMITS, "must be an object").optional(),
};
const ENTRY = z.object(FIELDS, "must be an object");
type Entry = z.output<typeof ENTRY>;

/** What `type` may say, without regard to case, `-` and `_`. */
const TYPES = new Map<string, "builtin" | "stdio" | "streamable" | "sse">([
  ["builtin", "builtin"],
  ["stdio", "stdio"],
  ["http", "streamable"],
  ["streamable", "streamable"],
  ["streamablehttp", "streamable"],
  ["sse", "sse"],
]);
/** What each kind of server can use, beside what all can. */
const USES = {
  builtin: [],
  stdio: ["command", "args", "env", "cwd", "model"],
  remote: ["url", "serverUrl", "httpUrl", "headers"],
};
const FOR_ALL = ["type", "transport", "transportType", "disabled", "discovery", "idle", "limits"];
/** Headers that belong to the connection or to the protocol: the gateway writes them itself. */
const OUR_HEADERS =
  /^(accept|connection|content-(length|type)|expect|host|keep-alive|last-event-id|mcp-.*|te|trailer|transfer-encoding|upgrade)$/i;

/** Reads what stands under one server's name, in whichever of the spellings that MCP clients know. */
export function readServerEntry(
  name: string,
  entry: unknown,
  env: Readonly<NodeJS.ProcessEnv>,
  defaults: ServerDefaults,
): ReadEntry {
  const read = ENTRY.safeParse(entry);
  if (!read.success) {
    const problems = read.error.issues.map(({ path, message }) => ({
      field: path.join("."),
      words: message,
    }));
    return { server: undefined, problems, warnings: [] };
  }
  const reader = new EntryReader(read.data, env);
  const settings = reader.settings(defaults);
  const server = reader.server(name, settings);
  const warnings = [...reader.warnings, ...unknownFields(entry as object, server?.kind)];
  return { server: reader.problems.length > 0 ? undefined : server, problems: reader.problems, warnings };
}

class EntryReader {
  readonly problems: ReadEntry["problems"] = [];
  readonly warnings: ReadEntry["warnings"] = [];
  readonly #entry: Entry;
  readonly #env: Readonly<NodeJS.ProcessEnv>;
  readonly #secrets = new Set<string>();

  constructor(entry: Entry, env: Readonly<NodeJS.ProcessEnv>) {
    this.#entry = entry;
    this.#env = env;
  }

  settings({ settings: defaults, maxOutboxBytes }: ServerDefaults): ServerSettings {
    const { model, discovery, idle, limits = {} } = this.#entry;
    const given = Object.entries(limits).filter(([, value]) => value !== undefined);
    const settings: ServerSettings = {
      ...defaults,
      ...Object.fromEntries(given),
      model: model ?? defaults.model,
      discovery: discovery ?? defaults.discovery,
      idleSeconds: idle ?? defaults.idleSeconds,
    };
    if (settings.maxLineBytes > maxOutboxBytes && limits.maxLineBytes !== undefined)
      this.#tell("limits.maxLineBytes", "must not be larger than MAX_OUTBOX_BYTES");
    return settings;
  }

  server(name: string, settings: ServerSettings): ServerConfig | undefined {
    const { command, url, serverUrl, httpUrl } = this.#entry;
    const field = this.#entry.type !== undefined ? "type" : "transport";
    const said = this.#entry.type ?? this.#entry.transport ?? this.#entry.transportType;
    const type = TYPES.get(said?.toLowerCase().replaceAll(/[-_]/g, "") ?? "");
    const address = url ?? serverUrl ?? httpUrl;
    if (said !== undefined && type === undefined) {
      this.#tell(field, "must be stdio, http, sse or builtin");
      return undefined;
    }
    if (command !== undefined && address !== undefined) this.#tell("command", "cannot stand beside a url");
    if (type === "builtin") return { name, ...settings, model: "per-session", kind: "builtin" };
    if (type === "stdio" || (type === undefined && command !== undefined)) {
      if (command !== undefined) return this.#stdio(name, settings, command);
      this.#tell("command", "is missing");
      return undefined;
    }
    if (address !== undefined) {
      const transport = type ?? (httpUrl !== undefined && url === undefined ? "streamable" : "auto");
      return this.#remote(name, settings, address, transport);
    }
    this.#tell(
      type === undefined ? "command" : "url",
      type === undefined ? "or url is missing" : "is missing",
    );
    return undefined;
  }

  #stdio(name: string, settings: ServerSettings, program: string): ServerConfig {
    const { args = [], env = {}, cwd } = this.#entry;
    if (this.#entry.args === undefined && /\s/.test(program))
      this.warnings.push({ field: "command", words: "is the program alone; the rest belongs into args" });
    const filled: Record<string, string> = {};
    for (const [variable, value] of Object.entries(env)) {
      filled[variable] = this.#fill(`env.${variable}`, value);
      if (variable === "" || /[=\0]/.test(variable))
        this.#tell(`env.${variable}`, "is no name of a variable");
      if (/key|token|secret|passw|auth|cred/i.test(variable)) this.#secrets.add(filled[variable]);
    }
    return {
      name,
      ...settings,
      kind: "stdio",
      command: this.#fill("command", program),
      args: args.map((arg, index) => this.#fill(`args.${index}`, arg)),
      cwd: cwd === undefined ? undefined : this.#fill("cwd", cwd),
      env: filled,
      secrets: [...this.#secrets].filter((secret) => secret !== ""),
    };
  }

  #remote(
    name: string,
    settings: ServerSettings,
    address: string,
    transport: "auto" | "streamable" | "sse",
  ): ServerConfig {
    const url = this.#fill("url", address);
    const { protocol, username, password } = URL.canParse(url) ? new URL(url) : { protocol: "" };
    if (!/^https?:$/.test(protocol)) this.#tell("url", "must be a URL that begins with http:// or https://");
    if (username || password) this.#tell("url", "must hold no user or password: use headers");
    const headers: Record<string, string> = {};
    for (const [header, value] of Object.entries(this.#entry.headers ?? {})) {
      const field = `headers.${header}`;
      headers[header] = this.#fill(field, value);
      if (!/^[\w!#$%&'*+.^`|~-]+$/.test(header)) this.#tell(field, "is no name of a header");
      else if (OUR_HEADERS.test(header)) this.#tell(field, "is set by the gateway itself");
      if (/[^\t\x20-\x7e\x80-\xff]/.test(headers[header]))
        this.#tell(field, "must have no line breaks and no letters that a header cannot carry");
    }
    return { name, ...settings, model: "per-session", kind: "remote", url, headers, transport };
  }

  /** The text with the environment's values in it. */
  #fill(field: string, text: string): string {
    const filled = fillVariables(text, this.#env);
    for (const problem of filled.problems) this.#tell(field, problem);
    for (const secret of filled.secrets) this.#secrets.add(secret);
    // Node's own error would show the whole value.
    if (filled.text.includes("\0")) this.#tell(field, "must hold no NUL");
    return filled.text;
  }

  #tell(field: string, said: string): void {
    this.problems.push({ field, words: said });
  }
}

function unknownFields(entry: object, kind: ServerConfig["kind"] | undefined): ReadEntry["warnings"] {
  const known = [...Object.keys(FIELDS), "disabled"];
  const useful = kind === undefined ? known : [...FOR_ALL, ...USES[kind]];
  const limits = Object.keys(LIMITS).map((limit) => `limits.${limit}`);
  const givenLimits = Object.keys((entry as { limits?: object }).limits ?? {}).map(
    (limit) => `limits.${limit}`,
  );
  return [
    ...Object.keys(entry)
      .filter((field) => !useful.includes(field))
      .map((field) =>
        known.includes(field)
          ? { field, words: "does nothing for a server of this kind" }
          : unknown(field, known),
      ),
    ...givenLimits.filter((field) => !limits.includes(field)).map((field) => unknown(field, limits)),
  ];
}

function unknown(field: string, known: readonly string[]): { field: string; words: string } {
  const near = nearestName(field, known);
  const question = near === undefined ? "" : `. Did you mean ${near}?`;
  return { field, words: `is not known here and was passed over${question}` };
}
