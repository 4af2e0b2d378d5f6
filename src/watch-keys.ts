import { ConfigError } from "./errors.ts";
import type { KeyChange } from "./keys/key-ring.ts";
import type { ScopeProblem } from "./keys/key-entries.ts";
import { loadKeysFile, type KeysFile } from "./keys/keys-file.ts";
import type { Log } from "./log.ts";
import { rereadFile, type RereadFile } from "./watch-file.ts";

export interface WatchKeysOptions {
  /** The keys file. */
  path: string;
  /** Puts the keys into use, and tells what changed. Throws a ConfigError, and changes nothing, when they cannot be used. */
  apply(read: KeysFile): KeyChange | Promise<KeyChange>;
  scopeProblem: ScopeProblem;
  log: Log;
}

/** Reads the keys file again when it changes. One that cannot be used is told, and the keys stay as they were. */
export function watchKeys({ path, apply, scopeProblem, log }: WatchKeysOptions): RereadFile {
  async function read(): Promise<void> {
    try {
      const file = loadKeysFile(path, scopeProblem);
      if (file.problems.length > 0) throw new ConfigError(file.problems);
      const { added, removed, changed } = await apply(file);
      const idsOf = (keys: KeyChange["added"]) => keys.map(({ id }) => id);
      log.info(
        { added: idsOf(added), removed: idsOf(removed), changed: idsOf(changed) },
        "keys file read again",
      );
    } catch (error) {
      if (error instanceof ConfigError) for (const problem of error.problems) log.error(problem);
      else log.error({ err: error }, "The keys file could not be put into use");
      log.error("The keys file cannot be used: the keys stay as they were");
    }
  }
  return rereadFile(path, read, log);
}
