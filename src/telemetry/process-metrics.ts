import { collectDefaultMetrics, Registry } from "prom-client";

let shared: Registry | undefined;

/**
 * CPU, memory, garbage collection and event loop lag of this process, under the names that prom-client gives them. One
 * set, however many gateways are in the process: what watches the event loop for it cannot be taken away again.
 */
export function processMetrics(): Registry {
  if (shared === undefined) collectDefaultMetrics({ register: (shared = new Registry()) });
  return shared;
}
