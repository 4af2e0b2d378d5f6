import { GatewayError } from "../errors.ts";
import { textOf, valueOf, withoutMembers } from "./modern-members.ts";
import { ModernRequest } from "./modern-request.ts";
import { META, MODERN_VERSION, TASKS_EXTENSION } from "../protocol/modern-terms.ts";
import type { Upstream } from "./upstream.ts";

/** How long a server may take to be started and to say what it is, in ms. */
const DISCOVER_MS = 60_000;

/** What a server answers to `server/discover`, as far as it matters to a client of an earlier version. */
export interface Discovery {
  /** JSON text of the members of the answer to `initialize`, without the version. */
  readonly result: Record<string, string>;
  /** Which lists tell their changes, as `subscriptions/listen` calls them. */
  readonly lists: Record<string, true>;
  readonly hasLogging: boolean;
  readonly hasSubscriptions: boolean;
}

interface Capabilities {
  logging?: object;
  tools?: { listChanged?: boolean };
  prompts?: { listChanged?: boolean };
  resources?: { listChanged?: boolean; subscribe?: boolean };
}

/**
 * Reads an answer to `server/discover`. Undefined when it does not offer the version that we speak.
 * @param name the server's name where it does not tell it.
 */
export function readDiscovery(answer: Buffer, name: string): Discovery | undefined {
  const versions = valueOf(answer, ["result", "supportedVersions"]);
  if (!Array.isArray(versions) || !versions.includes(MODERN_VERSION)) return undefined;
  const path = ["result", "capabilities"];
  const fewer = withoutMembers(answer, [...path, "extensions"], [TASKS_EXTENSION]);
  const capabilities = withoutMembers(fewer, path, ["tasks"]);
  const offered = (valueOf(capabilities, path) ?? {}) as Capabilities;
  const info = textOf(answer, ["result", "_meta", META.serverInfo]);
  const instructions = textOf(answer, ["result", "instructions"]);
  return {
    result: {
      capabilities: textOf(capabilities, path) ?? "{}",
      serverInfo: info ?? JSON.stringify({ name: name, version: MODERN_VERSION }),
      ...(instructions === undefined ? {} : { instructions }),
    },
    lists: {
      ...(offered.tools?.listChanged === true ? { toolsListChanged: true } : {}),
      ...(offered.prompts?.listChanged === true ? { promptsListChanged: true } : {}),
      ...(offered.resources?.listChanged === true ? { resourcesListChanged: true } : {}),
    },
    hasLogging: offered.logging !== undefined,
    hasSubscriptions: offered.resources?.subscribe === true,
  };
}

/**
 * Resolves with the answer to `server/discover`, or with undefined when the server does not speak the era. Rejects when
 * it cannot be asked, with `upstream_timeout` when it says nothing.
 *
 * @param stamp gives the request what every request of the era carries.
 */
export function discover(
  upstream: Upstream,
  stamp: (request: Buffer) => Buffer,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const giveUp = (error: unknown): void => {
      settled();
      void request.close();
      if (error instanceof GatewayError && error.reason === "upstream_era") resolve(undefined);
      else reject(error as Error);
    };
    const answered = (answer: Buffer | undefined): void => {
      settled();
      resolve(answer);
    };
    const request = new ModernRequest(upstream, {
      onNotice: () => undefined,
      onAnswer: (answer, { failed }) => answered(failed ? undefined : answer),
      onLost: () => answered(undefined),
    });
    const leave = (): void => giveUp(new GatewayError("upstream_exited"));
    const timer = setTimeout(giveUp, DISCOVER_MS, new GatewayError("upstream_timeout")).unref();
    const settled = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", leave);
    };
    signal.addEventListener("abort", leave, { once: true });
    request
      .send(stamp(Buffer.from('{"jsonrpc":"2.0","id":"discover","method":"server/discover"}')))
      .catch(giveUp);
  });
}
