import type { Log } from "../log.ts";

export interface SelfTestOptions {
  /** How long nothing may arrive. */
  silenceMs: number;
  /** Says a word to ourselves. `deaf`: it cannot have been heard. `mute`: it could not be said. */
  say: () => Promise<"said" | "deaf" | "mute">;
  /** How long that word may take to arrive. */
  echoMs: number;
  /** Nothing arrives although it should: last time something did, by `performance.now()`. */
  onDeaf: (since: number) => void;
  log: Log;
}

/** Finds a connection that is up and brings nothing any more, as proxies and switches of the primary leave behind. */
export interface SelfTest {
  /** Something arrived, or the connection is new. */
  heard(): void;
  /** There is no connection: nothing to test until `heard`. */
  pause(): void;
  close(): void;
}

const SAY_AGAIN_MS = 1000;

export function createSelfTest({ silenceMs, say, echoMs, onDeaf, log }: SelfTestOptions): SelfTest {
  let heardAt = 0;
  let timer: NodeJS.Timeout | undefined;

  const schedule = (milliseconds: number, next: () => void): void => {
    clearTimeout(timer);
    timer = setTimeout(next, milliseconds).unref();
  };

  function giveUp(): void {
    log.warn("relay hears nothing any more; connecting again");
    onDeaf(heardAt);
  }

  async function test(): Promise<void> {
    const asked = heardAt;
    schedule(echoMs, giveUp);
    const said = await say();
    // Meanwhile it was heard, or the connection went.
    if (heardAt !== asked || timer === undefined) return;
    if (said === "deaf") schedule(0, giveUp);
    if (said === "mute") schedule(SAY_AGAIN_MS, () => void test());
  }

  return {
    heard: () => {
      heardAt = performance.now();
      schedule(silenceMs, () => void test());
    },
    pause: () => {
      clearTimeout(timer);
      timer = undefined;
    },
    close() {
      this.pause();
    },
  };
}
