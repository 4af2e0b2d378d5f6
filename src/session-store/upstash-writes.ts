import type { Entry } from "./archive.ts";
import { cutUp, FIELDS_PER_HSET, pxOf, WRITE_ABSENT_HASH } from "./redis-entries.ts";
import { REQUEST_BYTES, sizeInJson } from "./upstash-connection.ts";

export type Command = readonly (string | number)[];

/** A request: its commands, and for each of its entries which command's answer says whether it was written. */
export interface Write {
  /** `multi-exec` where commands belong together. */
  path: "pipeline" | "multi-exec";
  commands: Command[];
  /** For each entry the place of its telling command, or whether it is written without one. */
  told: (number | boolean)[];
  /** What a hash that is too large for one request still has; written only where the first part was. */
  rest: Command[];
}

/** Commands of one request. */
const ENTRIES_PER_REQUEST = 300;
/** What a command has besides its key and value, the script included. */
const COMMAND_BYTES = 600;

const fieldSize = ([name, bytes]: [string, Buffer]): number =>
  sizeInJson(name) + sizeInJson(bytes.toString());

const sizeOf = ({ key, value }: Entry): number =>
  COMMAND_BYTES +
  3 * sizeInJson(key) +
  (typeof value === "string"
    ? sizeInJson(value)
    : [...value].reduce((sum, field) => sum + fieldSize(field), 0));

/** The hash's fields as parts, the first of which goes with its expiry. */
const partsOf = (value: ReadonlyMap<string, Buffer>, key: string): string[][] =>
  cutUp([...value], Infinity, REQUEST_BYTES - COMMAND_BYTES - 3 * sizeInJson(key), fieldSize).map((part) =>
    part.flatMap(([name, bytes]) => [name, bytes.toString()]),
  );

/**
 * The requests that write entries, each below 900 KB unless a single text or field is larger. A text costs one billed
 * command; a hash three, or with `absent` four (two where the key is taken), for only a script can ask and write in one step.
 */
export function planWrites(entries: readonly Entry[], prefix: string, when: "always" | "absent"): Write[] {
  return cutUp(entries, ENTRIES_PER_REQUEST, REQUEST_BYTES, sizeOf).map((batch) => {
    const write: Write = { path: "pipeline", commands: [], told: [], rest: [] };
    for (const entry of batch) add(write, entry, prefix + entry.key, when);
    return write;
  });
}

function add(write: Write, entry: Entry, key: string, when: "always" | "absent"): void {
  const { commands, told } = write;
  const { value } = entry;
  const isAbsent = when === "absent";
  if (typeof value === "string") {
    told.push(isAbsent ? commands.length : true);
    commands.push(["SET", key, value, "PX", pxOf(entry), ...(isAbsent ? ["NX"] : [])]);
    return;
  }
  // Redis has no hash without fields.
  const [first, ...more] = partsOf(value, key);
  told.push(isAbsent && first ? commands.length : !isAbsent);
  if (isAbsent) {
    if (first) commands.push(["EVAL", WRITE_ABSENT_HASH, 1, key, pxOf(entry), ...first]);
  } else {
    write.path = "multi-exec";
    commands.push(["DEL", key]);
    if (first) commands.push(["HSET", key, ...first], ["PEXPIRE", key, pxOf(entry)]);
  }
  write.rest.push(...more.map((part) => ["HSET", key, ...part]));
}

/** What one command is billed, by its answer. */
export function billOf(command: Command, result: unknown): number {
  if (command[0] !== "EVAL") return 1;
  const fields = (command.length - 5) / 2;
  return result === 0 ? 2 : 3 + Math.ceil(fields / FIELDS_PER_HSET);
}
