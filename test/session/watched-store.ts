import { GatewayError } from "../../src/errors.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";

/** A store that can be cut off, and that counts what it is asked. */
export function watched(store: SessionStore = createMemorySessionStore()) {
  const watch = { store, isAway: false, calls: [] as string[] };
  const proxied = new Proxy(store, {
    get(target, verb: keyof SessionStore) {
      const member = target[verb];
      if (typeof member !== "function") return member;
      return (...args: unknown[]) => {
        watch.calls.push(verb);
        if (watch.isAway) return Promise.reject(new GatewayError("store_unavailable"));
        return (member as (...args: unknown[]) => unknown).apply(target, args);
      };
    },
  });
  return { ...watch, store: proxied, watch };
}
