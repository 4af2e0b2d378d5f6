import { StoreFailure } from "./store-failure.ts";

/** Settles as `work` does, or rejects with a `StoreFailure` after `milliseconds`; what `work` brings later is dropped. */
export async function withinDeadline<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new StoreFailure("unreachable", "TIMEOUT")), milliseconds);
  });
  try {
    return await Promise.race([work, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}
