/** Upper bounds in seconds that the OpenTelemetry conventions for MCP give to every histogram of durations. */
export const OPERATION_BUCKETS: readonly number[] = [
  0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300,
];

/** What one combination of labels has seen. */
export class Series {
  /** `a="1",b="2"`, escaped. */
  readonly labels: string;
  readonly #bounds: readonly number[];
  /** How many fell between one bound and the next; the last is beyond all. */
  readonly #counts: number[];
  #sum = 0;

  constructor(labels: string, bounds: readonly number[]) {
    this.labels = labels;
    this.#bounds = bounds;
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(seconds: number): void {
    const bounds = this.#bounds;
    let bucket = 0;
    while (bucket < bounds.length && seconds > (bounds[bucket] as number)) bucket += 1;
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
    this.#sum += seconds;
  }

  /** Its lines in Prometheus' text format. `others` are labels that stand before its own. */
  text(name: string, others?: string): string {
    const labels = others === undefined ? this.labels : `${others},${this.labels}`;
    let lines = "";
    let count = 0;
    for (const [bucket, bound] of this.#bounds.entries()) {
      count += this.#counts[bucket] as number;
      lines += `${name}_bucket{${labels},le="${bound}"} ${count}\n`;
    }
    count += this.#counts[this.#bounds.length] as number;
    lines += `${name}_bucket{${labels},le="+Inf"} ${count}\n`;
    return `${lines}${name}_sum{${labels}} ${this.#sum}\n${name}_count{${labels}} ${count}\n`;
  }
}

/** Labels as a series has them; those without a value are left out, which means the same. */
export function labelText(labels: Readonly<Record<string, string | undefined>>): string {
  return Object.entries(labels)
    .filter((entry): entry is [string, string] => entry[1] !== undefined)
    .map(([name, value]) => `${name}="${value.replaceAll(/[\\"\n]/g, escaped)}"`)
    .join(",");
}

const escaped = (sign: string): string => (sign === "\n" ? "\\n" : `\\${sign}`);
