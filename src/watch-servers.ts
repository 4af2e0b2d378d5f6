import type { Log } from "./log.ts";
import type { ServerConfig, ServerDefaults } from "./server-config.ts";
import { loadServersFile } from "./servers-file.ts";
import { rereadFile, type RereadFile } from "./watch-file.ts";

export interface WatchServersOptions {
  /** The servers file. */
  path: string;
  env: Readonly<NodeJS.ProcessEnv>;
  defaults: ServerDefaults;
  /** Puts the servers into use, and tells which of them are not as they were. */
  apply(servers: ServerConfig[]): Promise<{ added: string[]; changed: string[]; removed: string[] }>;
  log: Log;
}

/** Reads the servers file again when it changes. One that cannot be used is told, and everything stays as it was. */
export function watchServersFile({ path, env, defaults, apply, log }: WatchServersOptions): RereadFile {
  async function read(): Promise<void> {
    const { servers, problems, warnings } = loadServersFile(path, env, defaults);
    for (const warning of warnings) log.warn(warning);
    for (const problem of problems) log.error(problem);
    if (problems.length > 0) {
      log.error("The servers file cannot be used: the servers stay as they were");
      return;
    }
    try {
      log.info(await apply(servers), "servers file read again");
    } catch (error) {
      log.error({ err: error }, "The servers file could not be put into use");
    }
  }
  return rereadFile(path, read, log);
}
