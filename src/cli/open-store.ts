import { GatewayError } from "../errors.ts";
import type { Archive } from "../session-store/archive.ts";
import { toFailure } from "../session-store/store-failure.ts";
import { CommandError, EXIT, usage } from "./command-error.ts";
import type { CliParts, NamedStore, OpenOptions } from "./parts.ts";

/** A store that is open. Its verbs reject with words that name it. */
export interface OpenStore extends Archive {
  readonly label: string;
}

/**
 * Finds the store that a flag names: a URL, `env:NAME` for the URL in that variable, or undefined for the store of the
 * environment. Opens nothing.
 */
export function findStore(parts: CliParts, value: string | undefined, flag: string): NamedStore {
  const store = parts.readStore(urlOf(parts, value, flag), flag);
  if (store.target.kind === "memory")
    throw usage(
      `The store is the memory of a gateway's process, which nobody else can read. Give ${flag} redis://…, https://… or file:…`,
    );
  return store;
}

function urlOf(parts: CliParts, value: string | undefined, flag: string): string | undefined {
  if (value === undefined || !value.startsWith("env:")) return value;
  const name = value.slice("env:".length);
  const url = parts.env[name];
  if (!/^\w{1,200}$/.test(name)) throw usage(`Behind ${flag} env: there must be a variable's name.`);
  if (url === undefined || url === "") throw usage(`${flag} names the variable ${name}, which is not set.`);
  return url;
}

/** Opens a store and waits until it serves. */
export async function openStore(
  parts: CliParts,
  { target, label }: NamedStore,
  options: OpenOptions,
): Promise<OpenStore> {
  const archive = await naming(label, () => parts.openArchive(target, options));
  const store: OpenStore = {
    label,
    get commands() {
      return archive.commands;
    },
    read: (options) => naming(label, () => archive.read(options)),
    readKeys: (keys) => naming(label, () => archive.readKeys(keys)),
    write: (entries, when) => naming(label, () => archive.write(entries, when)),
    swap: (previous, entry) => naming(label, () => archive.swap(previous, entry)),
    remove: (keys) => naming(label, () => archive.remove(keys)),
    ready: () => naming(label, () => archive.ready()),
    close: () => archive.close(),
  };
  try {
    await store.ready();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Lends a store to `work` and closes it. */
export async function withStore<T>(
  parts: CliParts,
  store: NamedStore,
  options: OpenOptions,
  work: (store: OpenStore) => Promise<T>,
): Promise<T> {
  const open = await openStore(parts, store, options);
  try {
    return await work(open);
  } finally {
    await open.close();
  }
}

async function naming<T>(label: string, verb: () => Promise<T>): Promise<T> {
  try {
    return await verb();
  } catch (error) {
    if (!(error instanceof GatewayError) || error.reason !== "store_unavailable") throw error;
    throw new CommandError(EXIT.store, `${label}: ${toFailure(error).message}.`, { cause: error });
  }
}
