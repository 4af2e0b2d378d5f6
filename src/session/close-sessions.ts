import type { SessionIndex } from "./session-index.ts";
import type { SessionEnd } from "./session-parts.ts";
import type { Session } from "./session.ts";

/** Ends these sessions, for their clients to come again. */
export function closeAll(
  index: SessionIndex,
  end: SessionEnd,
  isMeant: (session: Session) => boolean,
  retryMs: () => number,
): void {
  for (const session of index) if (isMeant(session)) session.close(end, retryMs());
}

/** Ends the sessions whose keys open nothing any more, and streams that were opened with such a key. */
export function closeKeys(
  index: SessionIndex,
  mayUse: (key: string) => boolean,
  retryMs: () => number,
): void {
  const isGone = (key: string | undefined): boolean => key !== undefined && !mayUse(key);
  for (const session of index) {
    if (isGone(session.key)) session.close("key_revoked", retryMs());
    else if (isGone(session.stream?.key)) session.stream?.end(retryMs());
  }
}
