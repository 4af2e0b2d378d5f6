import type { FeatureName } from "./matrix-features.ts";
import type { LettersName } from "./matrix-letters.ts";
import type { ClientKind, ServerKind } from "./matrix-servers.ts";

/** Where a client does not get what it would get of the server itself. */
export interface Refusal {
  clients: readonly ClientKind[];
  servers: readonly ServerKind[];
  feature: FeatureName | LettersName;
  /** What it gets. */
  seen: unknown;
  why: string;
}

export const EXPECTED_REFUSALS: readonly Refusal[] = [];

export const refusalOf = (client: ClientKind, server: ServerKind, feature: string): Refusal | undefined =>
  EXPECTED_REFUSALS.find(
    (one) => one.feature === feature && one.clients.includes(client) && one.servers.includes(server),
  );
