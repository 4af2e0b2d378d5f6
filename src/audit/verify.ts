import { createHash, type Hash } from "node:crypto";
import { GENESIS, isHeader, type Link, MARK, type Place, readLine } from "./chain.ts";
import { type FileLine, linesOf } from "./lines.ts";
import { type AuditReport, emptyReport, type FaultKind, type VerifyOptions } from "./report.ts";

const MAX_FAULTS = 1000;

/** Reads files of one chain, in order, and finds what was done to them. Holds one line. Rejects when a file cannot be read. */
export async function verifyAudit(
  paths: readonly string[],
  options: VerifyOptions = {},
): Promise<AuditReport> {
  const check = new Check(options);
  for (const path of paths) {
    check.beginFile(path);
    for await (const line of linesOf(path)) check.take(line);
    check.endFile();
  }
  return check.finish();
}

interface At {
  file: string;
  line: number;
}

/** What cannot be read, from its first line on. */
interface Unread {
  bytes: number;
  hash: Hash;
  at: At;
  isEnded: boolean;
  /** Whether a fault tells of it already. */
  isTold: boolean;
}

/** Goes along a chain. */
class Check {
  readonly #options: VerifyOptions;
  readonly #report = emptyReport();
  readonly #expected: Set<string>;
  /** The line that the next one should follow. */
  #tip: Place | undefined;
  /** The end of what was left aside when a line did not follow: the chain may turn out to go on there. */
  #aside: Place | undefined;
  #highest = 0;
  /** What cannot be read, until a line says that it was broken off. */
  #stray: Unread | undefined;
  #keptFrom = 1;
  #file = "";
  #line = 0;
  #isFirstOfFile = true;

  constructor(options: VerifyOptions) {
    this.#options = options;
    this.#expected = new Set(options.expect);
  }

  beginFile(path: string): void {
    this.#report.files += 1;
    this.#file = path;
    this.#isFirstOfFile = true;
  }

  take({ number, bytes, isEnded }: FileLine): void {
    this.#line = number;
    if (this.#options.isMixed && bytes?.toString("latin1", 0, MARK.length) !== MARK) return;
    const link = bytes && readLine(bytes);
    if (bytes === undefined) {
      this.#noteStray(Buffer.alloc(0), isEnded, true);
      this.#fault("unreadable", "The line is longer than any record.");
    } else if (link === undefined) this.#noteStray(bytes, isEnded);
    else if (!link.isTrue) {
      this.#noteStray(bytes, isEnded, true);
      this.#takeAltered(link);
    } else {
      this.#takeStray(link);
      this.#takeTrue(link);
    }
  }

  endFile(): void {
    if (this.#isFirstOfFile && !this.#stray) this.#fault("no_header", "The file holds no line of a chain.");
  }

  finish(): AuditReport {
    this.#blameStray();
    const { first } = this.#report;
    if (this.#options.isAll && first !== undefined && first.seq > Math.max(1, this.#keptFrom))
      this.#fault(
        "earlier_missing",
        `The chain begins at ${first.seq}, and no line says that what was before it was removed.`,
        "nowhere",
      );
    for (const hash of this.#expected)
      this.#fault(
        "not_found",
        `No line has the hash ${hash}: the end was cut off, or all was written anew.`,
        "nowhere",
      );
    this.#report.last = this.#tip;
    this.#report.isWhole = this.#report.faultCount === 0;
    return this.#report;
  }

  /** A line with a wrong hash. The next one follows the hash that it had, unless that was changed too. */
  #takeAltered(link: Link): void {
    this.#report.lines += 1;
    this.#isFirstOfFile = false;
    this.#fault("altered", `Record ${link.seq} was altered: its hash is that of another text.`);
    this.#aside = this.#tip;
    this.#tip = { seq: link.seq, hash: link.hash };
    this.#highest = Math.max(this.#highest, link.seq);
  }

  #takeTrue(link: Link): void {
    this.#report.lines += 1;
    this.#expected.delete(link.hash);
    if (this.#isFirstOfFile && !this.#options.isMixed && !isHeader(link))
      this.#fault("no_header", `The file begins with record ${link.seq}: the lines before it were removed.`);
    this.#isFirstOfFile = false;
    if (this.#follow(link)) {
      this.#report.lost += link.lost;
      if (link.event === "audit_opened") this.#report.openings += 1;
      if (link.keptFrom !== undefined) this.#keptFrom = link.keptFrom;
    }
    this.#highest = Math.max(this.#highest, link.seq);
  }

  /** False for a line that has no place in the chain. */
  #follow(link: Link): boolean {
    const { seq, hash } = link;
    const place = { seq, hash };
    const tip = this.#tip;
    if (tip === undefined) {
      this.#report.first ??= place;
      this.#tip = place;
      if (seq === 1 && link.prev !== GENESIS.hash)
        this.#fault("does_not_follow", "The first record follows another.");
      return true;
    }
    if (link.prev === tip.hash && seq === tip.seq + 1) {
      this.#tip = place;
      return true;
    }
    if (hash === tip.hash) {
      this.#fault("repeated", `Record ${seq} stands twice.`);
      return false;
    }
    if (seq === 1 && link.prev === GENESIS.hash) {
      if (!this.#options.isMixed) this.#fault("another_chain", "Another chain begins within this one.");
      this.#aside = tip;
      this.#tip = place;
      this.#highest = this.#options.isMixed ? 0 : this.#highest;
      return true;
    }
    const { prev } = link;
    if (this.#aside !== undefined && prev === this.#aside.hash && seq === this.#aside.seq + 1) {
      if (seq <= this.#highest)
        this.#fault(
          "out_of_order",
          `Record ${seq} stands behind record ${this.#highest}, or in another's place.`,
        );
      this.#aside = tip;
      this.#tip = place;
      return true;
    }
    if (seq <= tip.seq) {
      this.#fault("out_of_order", `Record ${seq} stands behind record ${tip.seq}, or is there twice.`);
      this.#aside = place;
      return false;
    }
    if (seq === tip.seq + 1)
      this.#fault(
        "does_not_follow",
        `Record ${seq} does not follow the line before it, which was altered or put there.`,
      );
    else {
      const last = seq - 1;
      const which = last === tip.seq + 1 ? `Record ${last} is` : `Records ${tip.seq + 1} to ${last} are`;
      this.#fault("missing", `${which} missing.`);
    }
    this.#aside = tip;
    this.#tip = place;
    return true;
  }

  #noteStray(bytes: Buffer, isEnded: boolean, isTold = false): void {
    const at = { file: this.#file, line: this.#line };
    const stray = (this.#stray ??= { bytes: 0, hash: createHash("sha256"), at, isEnded, isTold });
    stray.bytes += bytes.length;
    stray.hash.update(bytes);
    stray.isEnded = isEnded;
  }

  /** Lines that were broken off are told by the next whole one. */
  #takeStray({ torn }: Link): void {
    const stray = this.#stray;
    if (stray === undefined) {
      if (torn !== undefined && this.#tip !== undefined)
        this.#fault("missing", "What was broken off before this line was removed.");
      return;
    }
    if (torn?.bytes === stray.bytes && torn.sha256 === stray.hash.digest("hex")) {
      this.#report.torn += 1;
      this.#stray = undefined;
    } else this.#blameStray();
  }

  #blameStray(): void {
    const stray = this.#stray;
    this.#stray = undefined;
    if (stray === undefined || stray.isTold) return;
    const isOpenEnd = !stray.isEnded;
    this.#fault(
      isOpenEnd ? "unfinished" : "unreadable",
      isOpenEnd
        ? "The last line was broken off. The gateway says so when it goes on with this file."
        : "What stands here is no record, and no line says that a write was broken off.",
      stray.at,
    );
  }

  #fault(kind: FaultKind, words: string, at: At | "nowhere" = { file: this.#file, line: this.#line }): void {
    this.#report.faultCount += 1;
    if (this.#report.faults.length >= MAX_FAULTS) return;
    const { file, line } = at === "nowhere" ? ({} as Partial<At>) : at;
    this.#report.faults.push({ kind, file, line, words });
  }
}
