import type { Upstream } from "./upstream.ts";

/** The same upstream, all of whose links are one client's: see `LinkEvents.owner`. */
export const ownedBy = (upstream: Upstream, owner: unknown): Upstream => ({
  name: upstream.name,
  get isFull() {
    return upstream.isFull;
  },
  open: (events, signal) =>
    upstream.open(
      {
        owner,
        onMessage: (message) => events.onMessage(message),
        onRest: (id) => events.onRest?.(id),
        onEnd: (end) => events.onEnd(end),
      },
      signal,
    ),
  close: () => upstream.close(),
});
