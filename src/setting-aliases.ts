import type { SettingName } from "./settings.ts";

/** A name under which other programs and older documents know a setting of ours. */
interface SettingAlias {
  name: string;
  /** The setting that it stands for. Undefined: the gateway does this by itself, and nothing is to be set. */
  setting: SettingName | undefined;
  /** Its value in the words of the setting; the same where nothing else is said. Undefined: it asks for nothing. */
  translate?: (value: string, env: NodeJS.ProcessEnv) => string | undefined;
  /** What it is read as, for `docs/configuration.md` and the log. */
  meaning: string;
}

const isYes = (value: string): boolean => /^(true|1|yes|on)$/i.test(value.trim());

/** Over TLS, the same place. */
const withTls = (value: string, env: NodeJS.ProcessEnv): string | undefined =>
  isYes(value) ? env["REDIS_URL"]?.replaceAll(/(^|,\s*)redis(\+sentinel)?:/g, "$1rediss$2:") : undefined;

/** Every alias there is, once. */
export const SETTING_ALIASES: readonly SettingAlias[] = [
  { name: "SESSION_STORE_TYPE", setting: "SESSION_STORE", meaning: "the same words" },
  { name: "REDIS_PREFIX", setting: "REDIS_KEY_PREFIX", meaning: "the same" },
  { name: "REDIS_SESSION_TTL", setting: "SESSION_TTL_SECONDS", meaning: "seconds" },
  { name: "REDIS_TTL", setting: "SESSION_TTL_SECONDS", meaning: "seconds" },
  {
    name: "REDIS_FALLBACK_ENABLED",
    setting: "SESSION_STORE_FALLBACK",
    translate: (value) => (isYes(value) ? "memory" : "off"),
    meaning: "`true` is `memory`, anything else is `off`",
  },
  {
    name: "REDIS_TLS",
    setting: "REDIS_URL",
    translate: withTls,
    meaning: "`true` makes `redis://` of REDIS_URL `rediss://`",
  },
  {
    name: "REDIS_MAX_RETRIES",
    setting: undefined,
    meaning: "nothing: a command that may have been carried out is never sent again",
  },
  {
    name: "REDIS_RETRY_DELAY",
    setting: undefined,
    meaning: "nothing: the gateway connects again by itself, after 0.1 s at first and 2 s at last",
  },
];

/** What the aliases in an environment say, and what the operator should hear of them. */
export interface ReadAliases {
  /** Values by setting. */
  given: Map<SettingName, string>;
  /** One line for each alias; none shows a value. */
  notes: string[];
}

/** Reads the aliases. A setting that stands there under its own name wins; of two aliases of one setting the first does. */
export function readAliases(env: NodeJS.ProcessEnv): ReadAliases {
  const read: ReadAliases = { given: new Map(), notes: [] };
  for (const { name, setting, translate, meaning } of SETTING_ALIASES) {
    const value = env[name];
    if (value === undefined || value === "") continue;
    if (setting === undefined) {
      read.notes.push(`${name} does ${meaning.replaceAll("`", "")}. Remove it.`);
      continue;
    }
    // TLS changes what is there; every other alias gives way to it.
    const isTaken = name !== "REDIS_TLS" && (env[setting] !== undefined || read.given.has(setting));
    if (isTaken) {
      read.notes.push(`${name} is not used, because ${setting} is set. Remove it.`);
      continue;
    }
    const translated = translate === undefined ? value : translate(value, env);
    if (translated !== undefined) read.given.set(setting, translated);
    read.notes.push(`${name} is read as ${setting}. Use that name.`);
  }
  return read;
}
