const UNITS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const LONGEST_MS = 100 * 366 * 86_400_000;

/** A time span like `90d` or `24h`, in ms. Undefined when it is none, or longer than a century. */
export function readSpan(text: string): number | undefined {
  const [, count, unit] = /^(\d{1,9})([smhdw])$/.exec(text) ?? [];
  if (count === undefined || unit === undefined) return undefined;
  const spanMs = Number(count) * (UNITS[unit] as number);
  return spanMs <= LONGEST_MS ? spanMs : undefined;
}

/**
 * When a key is to end, in ms since 1970: a span from `now` on, a day, which begins in UTC, or a time in UTC. Undefined
 * when it is none of them or not later than `now`.
 */
export function readEnd(text: string, now: number): number | undefined {
  const spanMs = readSpan(text);
  const end = spanMs === undefined ? timeOf(text) : now + spanMs;
  return end !== undefined && end > now && end <= now + LONGEST_MS ? end : undefined;
}

function timeOf(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?Z)?$/.test(text)) return undefined;
  const time = Date.parse(text);
  // A day that no calendar has is read as one of the next month.
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text.slice(0, 10)) ? time : undefined;
}
