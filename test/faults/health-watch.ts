import { wait } from "./load.ts";

/** How a gateway said that it was, at one moment. */
export interface HealthSeen {
  /** Date.now() when it was asked. */
  at: number;
  /** Of `/health/ready`; 0 when nobody answered. */
  code: number;
  status: string | undefined;
  /** Of `/health/store`. */
  store: StoreSeen | undefined;
}

export interface StoreSeen {
  status: string;
  store: string;
  reachable: boolean;
  fallback?: { inUse: boolean; seconds?: number; pending: number };
  mirror?: {
    reachable: boolean;
    reading: boolean;
    queued: number;
    dropped: number;
    lagSeconds: number;
    divergent?: number;
  };
}

/** `/health/store` of a gateway. */
export const storeOf = async (url: string): Promise<StoreSeen> =>
  (await (await fetch(`${url}/health/store`)).json()) as StoreSeen;

/** Asks a gateway how it is twice a second, until it is stopped. */
export function watchHealth(url: string): { seen: readonly HealthSeen[]; stop(): Promise<void> } {
  const seen: HealthSeen[] = [];
  let isOver = false;
  const asking = (async () => {
    while (!isOver) {
      seen.push(await look(url));
      await wait(500);
    }
  })();
  return {
    seen,
    stop: async () => {
      isOver = true;
      await asking;
    },
  };
}

async function look(url: string): Promise<HealthSeen> {
  const at = Date.now();
  try {
    const ready = await fetch(`${url}/health/ready`);
    const { status } = (await ready.json()) as { status: string };
    return { at, code: ready.status, status, store: await storeOf(url) };
  } catch {
    return { at, code: 0, status: undefined, store: undefined };
  }
}
