/** What most programs need to start, find their files and check certificates; nothing of the gateway's own settings. */
const INHERITED: readonly string[] = [
  "HOME",
  "LANG",
  "LC_ALL",
  "LOGNAME",
  "NODE_EXTRA_CA_CERTS",
  "PATH",
  "SHELL",
  "SSL_CERT_DIR",
  "SSL_CERT_FILE",
  "TERM",
  "TMPDIR",
  "TZ",
  "USER",
  "XDG_CACHE_HOME",
  "XDG_CONFIG_HOME",
  "XDG_DATA_HOME",
];

/** The keys of our own door: no server needs them, so not even the operator can hand them on by mistake. */
const NEVER: ReadonlySet<string> = new Set(["MCP_API_KEY", "MCP_API_KEYS"]);

/**
 * The environment of a child process: a short list of harmless names, and the names that the operator listed, each
 * exactly as it stands in `from`. There are no patterns, so a secret goes to a child only when it is named.
 */
export function childEnvironment(
  from: Readonly<NodeJS.ProcessEnv>,
  listed: readonly string[],
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of [...INHERITED, ...listed]) {
    const value = Object.hasOwn(from, name) ? from[name] : undefined;
    if (value !== undefined && !NEVER.has(name)) env[name] = value;
  }
  return env;
}
