interface Failure {
  code?: unknown;
  syscall?: unknown;
}

/** A name with several addresses gives one error for each. */
const failuresOf = (error: unknown): Failure[] =>
  error instanceof AggregateError ? (error.errors as Failure[]) : [error as Failure];

/** Whether nobody listens at any of the addresses that were called. */
export const wasRefused = (error: unknown): boolean =>
  failuresOf(error).every(({ code }) => code === "ECONNREFUSED");

/** Whether an HTTP request failed before it had a connection; anything later leaves open what was sent. */
export const wasNeverSent = (error: unknown): boolean =>
  failuresOf(error).every(
    ({ code, syscall }) =>
      code === "UND_ERR_CONNECT_TIMEOUT" || syscall === "connect" || syscall === "getaddrinfo",
  );
