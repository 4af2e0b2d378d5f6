/** Resolves with what `look` gives once it stops throwing and is not false; rejects with its last failure after `limitMs`. */
export async function eventually<T>(look: () => T | Promise<T>, limitMs = 20_000): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    let failure: unknown;
    try {
      const seen = await look();
      if (seen !== false) return seen;
      failure = new Error(`still false after ${limitMs} ms`);
    } catch (error) {
      failure = error;
    }
    if (performance.now() >= deadline) throw failure;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
