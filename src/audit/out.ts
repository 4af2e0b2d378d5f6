import type { Writable } from "node:stream";
import { type Found, noStray } from "./recover.ts";

/** What came of writing: fewer bytes than were given when `error` says why. */
export interface Written {
  bytes: number;
  error?: Error;
}

/** Files that are too many, and the number of the first line behind them. */
export interface Surplus {
  paths: readonly string[];
  keptFrom: number;
}

/** Where the lines of a chain go. What rejects may be tried again. */
export interface Out {
  /** Whether its lines stand among others. */
  readonly isMarked: boolean;
  /** Opens it, where it is not open, and says where the chain stands; undefined when it was open and is as it was left. */
  ready(waitMs: number): Promise<Found | undefined>;
  /** How many bytes there is room for before `rotate`. */
  room(): number;
  write(bytes: Buffer, firstSeq: number): Promise<Written>;
  /** Sets aside what is full. The next line begins a new file. */
  rotate(): Promise<void>;
  /** What rotation has made too many. */
  surplus(): Promise<Surplus | undefined>;
  remove(surplus: Surplus): Promise<void>;
  close(): Promise<void>;
}

/** Lines on a stream that others write to as well: it has no past, and nothing is set aside. */
export function createStreamOut(stream: Writable): Out {
  let isOpen = false;
  return {
    isMarked: true,
    ready() {
      if (isOpen) return Promise.resolve(undefined);
      isOpen = true;
      return Promise.resolve({
        place: undefined,
        stray: noStray(),
        isMidLine: false,
        firstSeq: undefined,
      });
    },
    room: () => Infinity,
    write: (bytes) =>
      new Promise((resolve) => {
        stream.write(bytes, (error) => resolve(error ? { bytes: 0, error } : { bytes: bytes.length }));
      }),
    rotate: () => Promise.resolve(),
    surplus: () => Promise.resolve(undefined),
    remove: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}
