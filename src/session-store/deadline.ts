import { StoreFailure } from "./store-failure.ts";

/** Settles as `work` does, or rejects with a `StoreFailure` after `milliseconds`; what `work` brings later is dropped. */
export function withinDeadline<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new StoreFailure("unreachable", "TIMEOUT")), milliseconds);
    work.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error as Error);
      },
    );
  });
}
