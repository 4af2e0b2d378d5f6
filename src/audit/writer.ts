import { GENESIS, nextLine, type Place } from "./chain.ts";
import type { Out, Surplus } from "./out.ts";
import type { Queue, Waiting } from "./queue.ts";
import { membersOf } from "./record.ts";
import { type Found, noStray } from "./recover.ts";

/** Lines that are written at once, at most. */
const BATCH = 512;
/** More than any line has: a file with less room is full. */
export const LINE_ROOM = 2048;

export interface WriterOptions {
  out: Out;
  queue: Queue;
  instanceId: string;
  now: () => Date;
  /** A file was set aside; its last line stands at `place`. */
  onRotated: (place: Place) => void;
}

/** One line of the batch on its way. */
interface Made {
  /** Bytes of the batch up to its end. */
  end: number;
  place: Place;
  /** A gap waits in the queue as a record does; what the log says of itself does not. */
  kind: "record" | "gap" | "own";
}

/** Writes a queue to a chain, batch by batch. One call at a time. */
export class Writer {
  /** Records that were written. */
  written = 0;
  readonly #options: WriterOptions;
  #place: Place = GENESIS;
  #stray = noStray();
  #isMidLine = false;
  /** The line that must come before any other. */
  #header: "audit_opened" | "audit_continued" | undefined = "audit_opened";
  #surplus: Surplus | undefined;
  #isLast = false;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  get place(): Place {
    return this.#place;
  }

  /** The next `write` ends with the line that says that the log was closed. */
  finish(): void {
    this.#isLast = true;
  }

  /** Writes all that waits, and the line that opens the chain. Rejects at the first failure; what was not written waits on. */
  async write(waitMs: number): Promise<void> {
    const { out, queue } = this.#options;
    for (;;) {
      const found = await out.ready(waitMs);
      if (found) await this.#take(found);
      const isIdle = this.#header === undefined && this.#surplus === undefined && !this.#isLast;
      if (queue.length === 0 && isIdle) return;
      if (out.room() < LINE_ROOM && this.#header === undefined) await this.#rotate();
      else await this.#writeBatch();
    }
  }

  /** Goes on where the chain on disk stands, unless more was written than is found there. */
  async #take(found: Found): Promise<void> {
    if (found.place !== undefined) {
      this.#stray = found.stray;
      if (found.place.seq > this.#place.seq) this.#place = found.place;
    } else if (found.stray.bytes > 0) this.#stray = found.stray;
    this.#isMidLine = found.isMidLine;
    if (found.firstSeq === undefined) this.#header ??= "audit_continued";
    this.#surplus = await this.#options.out.surplus();
  }

  async #rotate(): Promise<void> {
    await this.#options.out.rotate();
    this.#options.onRotated(this.#place);
  }

  async #writeBatch(): Promise<void> {
    const { out, queue } = this.#options;
    const first = this.#place.seq + 1;
    const { bytes, made, closes } = this.#make(queue.show(BATCH));
    const { bytes: written, error } = await out.write(bytes, first);
    const whole = made.filter(({ end }) => end <= written);
    this.#settle(whole);
    queue.drop(whole.filter(({ kind }) => kind !== "own").length);
    if (whole.length === made.length) {
      if (closes) this.#isLast = false;
      const surplus = this.#surplus;
      this.#surplus = undefined;
      if (surplus) await out.remove(surplus);
    }
    if (error === undefined) return;
    const torn = bytes.subarray(whole.at(-1)?.end ?? 0, written);
    this.#noteTorn(torn);
    throw error;
  }

  /** Lines for as much of what waits as there is room for; our own come first. */
  #make(waiting: readonly Waiting[]): { bytes: Buffer; made: Made[]; closes: boolean } {
    const { out, queue, instanceId, now } = this.#options;
    let text = this.#isMidLine ? "\n" : "";
    let { length } = text;
    let place = this.#place;
    const made: Made[] = [];
    const add = (members: string, kind: Made["kind"]): boolean => {
      const next = nextLine(place, members, out.isMarked);
      // All that is written is ASCII but for the words of an operator's action.
      const bytes = Buffer.byteLength(next.line) + 1;
      if (made.length > 0 && kind !== "own" && length + bytes > out.room()) return false;
      length += bytes;
      text += `${next.line}\n`;
      place = next.place;
      made.push({ end: length, place, kind });
      return true;
    };
    const own = (event: string, said: Parameters<typeof membersOf>[3]) =>
      add(membersOf(event, now(), instanceId, said), "own");

    const { bytes, hash } = this.#stray;
    const torn = bytes === 0 ? {} : { tornBytes: bytes, tornSha256: hash.copy().digest("hex") };
    if (this.#header !== undefined || bytes > 0) own(this.#header ?? "audit_resumed", torn);
    if (this.#surplus !== undefined) own("audit_removed", { keptFrom: this.#surplus.keptFrom });
    for (const one of waiting) {
      const members =
        typeof one === "string"
          ? one
          : membersOf("audit_gap", now(), instanceId, {
              outcome: "failure",
              lost: one.lost,
              from: one.from.toISOString(),
              to: one.to.toISOString(),
            });
      if (!add(members, typeof one === "string" ? "record" : "gap")) break;
    }
    const closes = this.#isLast && made.filter(({ kind }) => kind !== "own").length === queue.length;
    if (closes) own("audit_closed", {});
    return { bytes: Buffer.from(text), made, closes };
  }

  #settle(whole: readonly Made[]): void {
    const last = whole.at(-1);
    if (last === undefined) return;
    this.#place = last.place;
    this.written += whole.filter(({ kind }) => kind === "record").length;
    this.#header = undefined;
    this.#stray = noStray();
    this.#isMidLine = false;
  }

  #noteTorn(torn: Buffer): void {
    if (torn.length === 0) return;
    this.#isMidLine = torn.at(-1) !== 0x0a;
    const line = torn.subarray(torn[0] === 0x0a ? 1 : 0);
    this.#stray.hash.update(line);
    this.#stray.bytes += line.length;
  }
}
