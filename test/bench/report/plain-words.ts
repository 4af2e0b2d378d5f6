const LONGEST = 200;

/** The first line of a fault, without the paths of this machine and without names in capitals, which the page's readers would take for settings. */
export function plainWords(fault: unknown): string {
  const [line = ""] = (fault instanceof Error ? fault.message : String(fault)).split("\n");
  return line
    .replace(/(?:file:\/\/)?\/(?:[\w.@+-]+\/)+([\w.@+-]+)/g, "$1")
    .replace(/\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b/g, (name) => name.replaceAll("_", " "))
    .replaceAll("|", "/")
    .slice(0, LONGEST);
}
