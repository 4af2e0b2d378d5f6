import { GatewayError } from "../errors.ts";

/**
 * What kept a store from serving. `unreachable`: no answer, or none that a store gives. `refused`: the store itself
 * answered with an error, as when it is full. `credentials`: it does not accept ours. `quota`: the plan's commands are
 * used up.
 */
export type FailureKind = "unreachable" | "refused" | "credentials" | "quota";

const WORDS: Record<FailureKind, string> = {
  unreachable: "the store cannot be reached",
  refused: "the store answered with an error",
  credentials: "the store refuses the credentials",
  quota: "the store's command quota is used up",
};

/**
 * The cause of a `store_unavailable`. It is made of fixed words and a short code, because the libraries' own errors
 * carry whole commands, passwords and addresses.
 */
export class StoreFailure extends Error {
  readonly kind: FailureKind;
  readonly code: string;

  /** @param code such as `ECONNREFUSED`, `OOM` or `HTTP_502`; anything longer or with other signs is dropped. */
  constructor(kind: FailureKind, code: string) {
    const safe = /^[A-Za-z][A-Za-z0-9_]{0,39}$/.test(code) ? code : "unknown";
    super(`${WORDS[kind]} (${safe})`);
    this.name = "StoreFailure";
    this.kind = kind;
    this.code = safe;
  }
}

/** Reads the error text of a Redis or Upstash reply. Only its first word is kept: the rest may repeat what was sent. */
export function replyFailure(text: string): StoreFailure {
  if (/max (daily )?requests? limit exceeded/i.test(text)) return new StoreFailure("quota", "QUOTA");
  const credentials =
    /\b(WRONGPASS|NOAUTH|NOPERM|Unauthorized|invalid password|AUTH <password> called)\b/.exec(text);
  if (credentials) return new StoreFailure("credentials", credentials[0].split(" ", 1)[0] ?? "AUTH");
  // Upstash's client puts "Command 2 [ getex ] failed: " before the reply of a pipeline.
  const code = /^(?:Command \d+ \[ \w+ \] failed: )?([A-Z][A-Z0-9]*)\b/.exec(text)?.[1];
  return new StoreFailure("refused", code ?? "ERR");
}

/** The failure behind any error that a driver or a library throws. */
export function toFailure(error: unknown): StoreFailure {
  if (error instanceof StoreFailure) return error;
  if (error instanceof GatewayError && error.cause instanceof StoreFailure) return error.cause;
  if (!(error instanceof Error)) return new StoreFailure("unreachable", typeof error);
  const { code } = error as { code?: unknown };
  return new StoreFailure("unreachable", typeof code === "string" ? code : error.name);
}

/** The one error that verbs of a session store reject with. */
export const unavailable = (failure: StoreFailure): GatewayError =>
  new GatewayError("store_unavailable", { cause: failure });
