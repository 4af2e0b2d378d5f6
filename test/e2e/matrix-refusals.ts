import type { FeatureName } from "./matrix-features.ts";
import type { LettersName } from "./matrix-letters.ts";
import type { ClientKind, ServerKind } from "./matrix-servers.ts";

/** Where a client does not get what it would get of the server itself. */
interface Refusal {
  clients: readonly ClientKind[];
  servers: readonly ServerKind[];
  feature: FeatureName | LettersName;
  /** What it gets. */
  seen: unknown;
  why: string;
}

const WITH_SESSIONS = ["sse", "streamable"] as const;
const LEGACY = ["stdio", "sse", "streamable"] as const;
const MODERN = ["stdio-modern", "modern"] as const;
const NOT_SUPPORTED = { refused: -32601 };
const AT_ONCE = { content: [{ type: "text", text: "worked at once" }] };

/** All that is not carried. What is not in here is, or a test fails. */
export const EXPECTED_REFUSALS: readonly Refusal[] = [
  {
    clients: ["modern"],
    servers: ["builtin"],
    feature: "resources: subscribe, updates",
    seen: { told: [], afterwards: 0 },
    why: "The counter is of a session, and who listens has another one than who calls.",
  },
  {
    clients: ["modern"],
    servers: LEGACY,
    feature: "cancellation by the server",
    seen: { answer: { content: [{ type: "text", text: "did not wait" }] }, wasTold: false },
    why: "2026-07-28 has no word for it: the client learns it by the answer, when it brings the input.",
  },
  {
    clients: WITH_SESSIONS,
    servers: MODERN,
    feature: "tasks",
    seen: {
      offered: undefined,
      begun: [AT_ONCE, AT_ONCE],
      got: NOT_SUPPORTED,
      result: NOT_SUPPORTED,
      list: NOT_SUPPORTED,
      cancelled: NOT_SUPPORTED,
    },
    why: "Tasks of 2025-11-25 and the extension of 2026-07-28 are two things: neither is offered over the border.",
  },
  {
    clients: WITH_SESSIONS,
    servers: MODERN,
    feature: "tasks, word for word",
    seen: NOT_SUPPORTED,
    why: "As above.",
  },
  {
    clients: ["modern"],
    servers: LEGACY,
    feature: "tasks, word for word",
    seen: NOT_SUPPORTED,
    why: "As above.",
  },
  {
    clients: ["sse", "streamable", "modern"],
    servers: ["stdio-modern"],
    feature: "vendor notification of the server",
    seen: [],
    why: "It names no request, and all requests of the era use one process: it is for nobody.",
  },
  {
    clients: WITH_SESSIONS,
    servers: MODERN,
    feature: "vendor notification of the client",
    seen: "not told",
    why: "A server of 2026-07-28 hears requests, and a notification is none.",
  },
  {
    clients: ["modern"],
    servers: LEGACY,
    feature: "vendor notification of the client",
    seen: "not told",
    why: "It would be of a session, and a client of 2026-07-28 has none.",
  },
];

export const refusalOf = (client: ClientKind, server: ServerKind, feature: string): Refusal | undefined =>
  EXPECTED_REFUSALS.find(
    (one) => one.feature === feature && one.clients.includes(client) && one.servers.includes(server),
  );
