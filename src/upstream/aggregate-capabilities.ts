import type { Member } from "./aggregate-member.ts";
import { textOf, valueOf } from "./modern-members.ts";

/** Whether a member offers this; one that has not introduced itself may. */
export function hasCapability({ introduction }: Member, capability: string): boolean {
  return (
    introduction === undefined || textOf(introduction, ["result", "capabilities", capability]) !== undefined
  );
}

/** What all of them offer together. Of two that say different things of the same, `true` wins, then the first. */
export function unite(all: readonly unknown[]): Record<string, unknown> {
  const united = new Map<string, unknown>();
  for (const one of all.filter(isObject)) {
    for (const [name, value] of Object.entries(one)) {
      const before = united.get(name);
      if (isObject(before) && isObject(value)) united.set(name, unite([before, value]));
      else if (before === undefined || value === true) united.set(name, value);
    }
  }
  // Not by assignment, which would make a prototype of a member named `__proto__`.
  return Object.fromEntries(united);
}

/** The capabilities in an answer to `initialize` or `server/discover`. */
export const capabilitiesOf = (answer: Buffer): unknown => valueOf(answer, ["result", "capabilities"]);

/** What the servers say about themselves, one after another, and who is missing. Undefined when there is nothing to say. */
export function joinInstructions(
  present: readonly { name: string; answer: Buffer }[],
  absent: readonly string[],
): string | undefined {
  const said = present.flatMap(({ name, answer }) => {
    const instructions = valueOf(answer, ["result", "instructions"]);
    return typeof instructions === "string" && instructions !== "" ? [`${name}: ${instructions}`] : [];
  });
  const missing = absent.map((name) => `Server ${name} is not available.`);
  return [...said, ...missing].join("\n\n") || undefined;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
