import { labelText, Series } from "./durations.ts";
import { Words } from "./names.ts";

const TOOK = "mcp_gateway_store_operation_duration_seconds";
const ERRORS = "mcp_gateway_store_errors_total";
const BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];
/** The store has some twenty verbs, and a handful of failures. */
const MAX_WORDS = 64;

export interface StoreMetrics {
  /** One verb was carried out, or was not, for `failure`. */
  call(operation: string, seconds: number, failure: string | undefined): void;
  /** In Prometheus' text format. `store` is which it is: the first calls come before that can be asked. */
  text(store: string): string;
}

/** Observes what is asked of the session store. */
export function createStoreMetrics(): StoreMetrics {
  const words = new Words(MAX_WORDS);
  const took = new Map<string, Series>();
  const failed = new Map<string, number>();

  return {
    call(operation, seconds, failure) {
      const op = words.admit(operation);
      let series = took.get(op);
      if (series === undefined) took.set(op, (series = new Series(labelText({ op }), BUCKETS)));
      series.observe(seconds);
      if (failure === undefined) return;
      const kind = words.admit(failure);
      failed.set(kind, (failed.get(kind) ?? 0) + 1);
    },
    text(store) {
      const which = labelText({ store });
      const durations = [...took.values()].map((series) => series.text(TOOK, which)).join("");
      const errors = [...failed].map(
        ([kind, count]) => `${ERRORS}{${which},${labelText({ kind })}} ${count}\n`,
      );
      return (
        `# HELP ${TOOK} How long the session store took, by what was asked of it.\n` +
        `# TYPE ${TOOK} histogram\n${durations}\n` +
        `# HELP ${ERRORS} What the session store did not do, by why.\n` +
        `# TYPE ${ERRORS} counter\n${errors.join("")}`
      );
    },
  };
}
