import { fileURLToPath } from "node:url";

/** A server to be measured: how it is started and how one knows that it is ready. */
export interface Target {
  name: string;
  transport: "sse" | "streamable";
  /** Where its clients begin: the path of the stream, or of Streamable HTTP. */
  path: string;
  /** The words after `node`. */
  script(port: number): string[];
  env: Record<string, string>;
  /** Sent with every request. */
  headers: Record<string, string>;
  ready: "prints JSON" | "answers /health" | "listens" | { prints: string };
  /** Puts in place what it needs, once, before the first round. What it could not do, `missing` tells. */
  prepare?(): Promise<void>;
  /** Why it cannot be started now; undefined when it can. */
  missing(): string | undefined;
}

/** The path of a file beside the module that asks. */
export const pathOf = (relative: string, base: string): string => fileURLToPath(new URL(relative, base));
