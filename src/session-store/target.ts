/** Where a store is, and how it is opened. Made from settings or from a store URL; holds credentials, so it is never shown. */
export type StoreTarget =
  | { kind: "memory" }
  | { kind: "file"; directory: string; sync: "always" | "second" | "off" }
  | { kind: "redis"; url: string; caFile?: string | undefined }
  | { kind: "upstash"; url: string; token: string };
