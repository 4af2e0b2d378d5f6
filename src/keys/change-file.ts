import {
  closeSync,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { lockFile } from "./file-lock.ts";
import type { CallerEntry, ScopeProblem } from "./key-entries.ts";
import { loadKeysFile, printKeysFile, readKeysFile } from "./keys-file.ts";

/** Why the keys file was not changed, in words for the operator. */
export class KeysFileError extends Error {
  override readonly name = "KeysFileError";
}

export interface ChangeOptions {
  /** Whether a file that is not there begins empty. */
  mayCreate?: boolean;
  scopeProblem: ScopeProblem;
  /** How long to wait for another command that changes the file. */
  waitMs?: number;
}

/** A change takes some milliseconds. */
const WAIT_MS = 10_000;
/** For nobody but who owns it: hashes and names are nobody else's business. */
const NEW_MODE = 0o600;

/**
 * Puts a file in the place of the keys file in which `change` has changed the callers, and answers what it answers. Two
 * at once wait for each other, so that nothing is lost. Rejects with a KeysFileError, and with whatever `change` throws;
 * then everything is as it was.
 */
export async function changeKeysFile<T>(
  path: string,
  change: (callers: CallerEntry[]) => T,
  { mayCreate = false, scopeProblem, waitMs = WAIT_MS }: ChangeOptions,
): Promise<T> {
  const target = targetOf(path, mayCreate);
  const unlock = await lock(`${target}.lock`, waitMs);
  // From here on nothing waits, so that no signal comes between.
  try {
    const callers = existsSync(target) ? presentCallers(target, scopeProblem) : [];
    const answer = change(callers);
    const text = printKeysFile(callers);
    const { problems } = readKeysFile(text, scopeProblem);
    // What the gateway would refuse is never written.
    if (problems.length > 0) throw new KeysFileError(problems.join("\n"));
    replaceFile(target, text);
    return answer;
  } catch (error) {
    throw inWords(error, target);
  } finally {
    unlock();
  }
}

/** The callers of a file that must be whole. Throws a KeysFileError. */
export function presentCallers(path: string, scopeProblem: ScopeProblem): CallerEntry[] {
  const { callers, problems } = loadKeysFile(path, scopeProblem);
  if (problems.length > 0) throw new KeysFileError(problems.join("\n"));
  return callers;
}

/** The file itself, where `path` is a link to it: a link that is replaced by a file would no longer follow its source. */
function targetOf(path: string, mayCreate: boolean): string {
  let target: string;
  try {
    const isThere = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    if (!isThere && !mayCreate)
      throw new KeysFileError(`There is no file ${path}. Make it with: keys create`);
    target = isThere ? realpathSync(path) : join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    throw inWords(error, path);
  }
  // Kubernetes keeps what it mounts under ..data and replaces it as a whole.
  if (target.split(sep).some((part) => part.startsWith("..") && part.length > 2)) throw readOnly(path);
  return target;
}

async function lock(path: string, waitMs: number): Promise<() => void> {
  const unlock = await lockFile(path, waitMs).catch((error: unknown) => {
    throw inWords(error, path);
  });
  if (unlock === undefined)
    throw new KeysFileError(`Another command changes this file. If none is running, remove ${path}`);
  return unlock;
}

/** Whoever reads the file meanwhile has the old one or the new one, whole. */
function replaceFile(path: string, text: string): void {
  const before = statSync(path, { throwIfNoEntry: false });
  const fresh = join(dirname(path), `.${basename(path)}.${process.pid}.new`);
  const file = openSync(fresh, "w", NEW_MODE);
  try {
    writeFileSync(file, text);
    if (before !== undefined) {
      const { uid, gid } = fstatSync(file);
      // A gateway that runs as another user must be able to read it as before.
      if (uid !== before.uid || gid !== before.gid) fchownSync(file, before.uid, before.gid);
      fchmodSync(file, before.mode & 0o777);
    }
    fsyncSync(file);
    closeSync(file);
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
  const directory = openSync(dirname(path), "r");
  fsyncSync(directory);
  closeSync(directory);
}

const readOnly = (path: string): KeysFileError =>
  new KeysFileError(
    `${path} cannot be changed where it is: it is mounted read-only, as secrets are. Change it where it comes from.`,
  );

/** What the system says, in words for the operator. */
function inWords(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof KeysFileError || typeof code !== "string") return error;
  if (code === "EROFS") return readOnly(path);
  if (code === "EACCES" || code === "EPERM")
    return new KeysFileError(
      `${path} may not be changed by this user, or not without taking it from its owner.`,
    );
  if (code === "ENOENT") return new KeysFileError(`The directory of ${path} is not there.`);
  return new KeysFileError(`${path} cannot be changed: ${code}`);
}
