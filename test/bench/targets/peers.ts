import type { Target } from "../target.ts";

/** What users would run instead. */
export const PEERS: readonly Target[] = [];
