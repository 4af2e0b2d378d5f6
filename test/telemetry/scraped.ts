import { createRequire } from "node:module";

/** One series as the parser of another project reads it. */
interface Sample {
  labels?: Record<string, string>;
  value: string;
}

// The package says of its files that they are CommonJS and modules at once.
const parse = createRequire(import.meta.url)("parse-prometheus-text-format") as (
  text: string,
) => { name: string; metrics: Sample[] }[];

/** A scrape, to be looked things up in. Of a histogram there are `_bucket`, `_sum` and `_count`. */
export class Scraped {
  readonly #samples = new Map<string, Sample[]>();

  constructor(text: string) {
    // The parser would make one series of all that a histogram has: without its type it is the counters it is made of.
    for (const { name, metrics } of parse(text.replaceAll(/^# TYPE \w+ histogram$/gm, "")))
      this.#samples.set(name, [...(this.#samples.get(name) ?? []), ...metrics]);
  }

  /** How many series there are of metrics whose names begin so. */
  count(prefix: string): number {
    return [...this.#samples].reduce(
      (sum, [name, { length }]) => sum + (name.startsWith(prefix) ? length : 0),
      0,
    );
  }

  /** The series of a metric that have these labels, of whatever others. An empty one stands for none. */
  series(name: string, labels: Record<string, string> = {}): Sample[] {
    return (this.#samples.get(name) ?? []).filter((sample) =>
      Object.entries(labels).every(([label, value]) => (sample.labels?.[label] ?? "") === value),
    );
  }

  /** The value of the one series that has these labels. */
  value(name: string, labels?: Record<string, string>): number | undefined {
    const [one, ...others] = this.series(name, labels);
    if (others.length > 0) throw new Error(`${name} has ${others.length + 1} such series`);
    return one && Number(one.value);
  }

  /** Every metric with its labels. */
  names(): Map<string, Set<string>> {
    const labelsOf = (samples: Sample[]) =>
      new Set(samples.flatMap(({ labels = {} }) => Object.keys(labels)));
    return new Map(
      [...this.#samples]
        .filter(([, samples]) => samples.length > 0)
        .map(([name, samples]) => [name, labelsOf(samples)]),
    );
  }
}
