/** Whether an Accept header names an event stream before plain JSON, as one who would rather have the stream. */
export function prefersStream(accept: string | undefined): boolean {
  const stream = accept?.indexOf("text/event-stream") ?? -1;
  const json = accept?.indexOf("application/json") ?? -1;
  return stream >= 0 && stream < json;
}

/** What most clients of Streamable HTTP send, each in one of these spellings. */
const BOTH = /^(?:application\/json, ?text\/event-stream|text\/event-stream, ?application\/json)$/;

/** Whether an Accept header leaves room for both media types of Streamable HTTP. */
export function acceptsBoth(accept: string | undefined): boolean {
  if (accept !== undefined && BOTH.test(accept)) return true;
  return accepts(accept, "application/json") && accepts(accept, "text/event-stream");
}

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
