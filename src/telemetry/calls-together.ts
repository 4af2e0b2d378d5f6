import type { CallBegin, CallEnd, CallInFlight, Calls } from "../events.ts";

/**
 * Several who watch calls, as one. Each is shown the message as those before it have changed it, and the server is given
 * what the last has made of it. Undefined when there is none; one alone is answered as it is.
 */
export function watchTogether(list: readonly Calls[]): Calls | undefined {
  if (list.length <= 1) return list[0];
  return {
    begin(call) {
      let shown: CallBegin = call;
      let first: CallInFlight | undefined;
      let rest: CallInFlight[] | undefined;
      for (const calls of list) {
        const flight = calls.begin(shown);
        if (flight === undefined) continue;
        if (flight.message !== shown.message) shown = { ...call, message: flight.message };
        if (first === undefined) first = flight;
        else (rest ??= []).push(flight);
      }
      return first === undefined || rest === undefined
        ? first
        : new WatchedTogether(shown.message, [first, ...rest]);
    },
  };
}

class WatchedTogether implements CallInFlight {
  readonly message: Buffer;
  readonly #flights: readonly CallInFlight[];

  constructor(message: Buffer, flights: readonly CallInFlight[]) {
    this.message = message;
    this.#flights = flights;
  }

  end(outcome: CallEnd): void {
    for (const flight of this.#flights) flight.end(outcome);
  }
}
