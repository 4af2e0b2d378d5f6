const REFERENCE = /\$\{([^}]*)\}/g;
const NAME = /^(?:env:)?([A-Za-z_]\w*)(?::-([^]*))?$/;

/** Whether a variable holds keys of our own door: no server gets them, so that nobody hands them on by mistake. */
export const isOurKey = (name: string): boolean => name === "MCP_API_KEY" || name === "MCP_API_KEYS";

export interface Filled {
  text: string;
  /** What came from the environment, to be kept out of logs. */
  secrets: string[];
  /** One for each reference that cannot be filled: names the variable, never a value. */
  problems: string[];
}

/**
 * Puts the environment's values in place of `${VAR}`, `${env:VAR}` and `${VAR:-default}`. As in a shell, `:-` also
 * stands for a variable that is empty. What was put in is not looked through again.
 */
export function fillVariables(text: string, env: Readonly<NodeJS.ProcessEnv>): Filled {
  const filled: Filled = { text, secrets: [], problems: [] };
  filled.text = text.replaceAll(REFERENCE, (_, inside: string) => {
    const [, name, fallback] = NAME.exec(inside) ?? [];
    const value = name === undefined || isOurKey(name) || !Object.hasOwn(env, name) ? undefined : env[name];
    if (value !== undefined && value !== "") {
      filled.secrets.push(value);
      return value;
    }
    if (name === undefined) {
      filled.problems.push("has a reference other than ${VAR}, ${env:VAR} and ${VAR:-default}");
    } else if (isOurKey(name)) {
      filled.problems.push(`uses \${${name}}, which is the gateway's own and goes to no server`);
    } else if (fallback === undefined) filled.problems.push(`uses \${${name}}, which is not set`);
    return fallback ?? "";
  });
  return filled;
}
