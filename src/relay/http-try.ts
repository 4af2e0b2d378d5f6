import type { Agent, Dispatcher } from "undici";

/** What came of one HTTP request: the whole answer, or why there is none. */
export type Answered = { readonly status: number; readonly body: Buffer } | { readonly error: Error };

export interface Request {
  readonly origin: string;
  readonly path: string;
  readonly headers: readonly string[];
  readonly body: Buffer;
}

/** One POST that can be given up. */
export interface Try {
  /** Ends it, unless it has ended. `onEnd` is not called any more. */
  abort(): void;
}

/**
 * Sends one POST. Calls `onEnd` once, perhaps before this returns. Without streams, signals and promises, which cost more
 * than the request.
 */
export function tryPost(
  agent: Agent,
  { origin, path, headers, body }: Request,
  onEnd: (answered: Answered) => void,
): Try {
  let controller: Dispatcher.DispatchController | undefined;
  let status = 0;
  let isOver = false;
  const chunks: Buffer[] = [];

  function end(answered: Answered): void {
    if (isOver) return;
    isOver = true;
    onEnd(answered);
  }

  agent.dispatch(
    { origin, path, method: "POST", headers: headers as string[], body },
    {
      onRequestStart(started) {
        controller = started;
        if (isOver) started.abort(new Error("given up"));
      },
      onResponseStart: (_controller, statusCode) => void (status = statusCode),
      onResponseData: (_controller, chunk) => void chunks.push(chunk),
      onResponseEnd: () =>
        end({ status, body: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks) }),
      onResponseError: (_controller, error) => end({ error }),
    },
  );
  return {
    abort() {
      if (isOver) return;
      isOver = true;
      controller?.abort(new Error("given up"));
    },
  };
}
