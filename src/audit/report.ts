import type { Place } from "./chain.ts";

/** What is wrong with a line of a chain. */
export type FaultKind =
  | "altered"
  | "missing"
  | "out_of_order"
  | "repeated"
  | "does_not_follow"
  | "another_chain"
  | "no_header"
  | "unreadable"
  | "unfinished"
  | "not_found"
  | "earlier_missing";

export interface AuditFault {
  kind: FaultKind;
  /** Where it was seen; undefined for what is in no file. */
  file: string | undefined;
  line: number | undefined;
  /** In plain words. */
  words: string;
}

export interface AuditReport {
  /** Nothing is wrong. */
  isWhole: boolean;
  files: number;
  /** Lines of the chain. */
  lines: number;
  first: Place | undefined;
  last: Place | undefined;
  /** The first thousand. */
  faults: AuditFault[];
  /** All of them. */
  faultCount: number;
  /** Records that the gateway itself says it could not write. */
  lost: number;
  /** Writes that were broken off, and said so afterwards. */
  torn: number;
  /** Times that the log was opened. */
  openings: number;
}

export interface VerifyOptions {
  /** Hashes that were noted elsewhere and must be in the chain. */
  expect?: readonly string[];
  /** The files are all there should be: what is missing before them must have been removed by rotation. */
  isAll?: boolean;
  /** Lines that are no part of a chain stand between, as on standard output, and a start of the program begins a chain. */
  isMixed?: boolean;
}

export const emptyReport = (): AuditReport => ({
  isWhole: true,
  files: 0,
  lines: 0,
  first: undefined,
  last: undefined,
  faults: [],
  faultCount: 0,
  lost: 0,
  torn: 0,
  openings: 0,
});
