/** Whether an Accept header leaves room for this media type. curl sends none that says no. */
export function accepts(accept: string | undefined, type: string): boolean {
  if (accept === undefined) return true;
  const ranges = [type, `${type.split("/", 1)[0]}/*`, "*/*"];
  return accept.split(",").some((range) => {
    const [name = "", ...parameters] = range
      .toLowerCase()
      .split(";")
      .map((part) => part.trim());
    const isRefused = parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
    return !isRefused && ranges.includes(name);
  });
}
