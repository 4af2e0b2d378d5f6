import type { Profiler } from "node:inspector";

export interface Share {
  name: string;
  /** Part of the busy time that was spent in it itself, not in what it calls. */
  share: number;
}

export interface ProfileShares {
  busySeconds: number;
  functions: Share[];
  families: Share[];
}

type Frame = Profiler.ProfileNode["callFrame"];

const WRITES = /^(writev?|write(Buffer|Utf8String|Latin1String|AsciiString|Ucs2String)|shutdown)$/;
const EXPRESS =
  /node_modules\/(express|router|body-parser|raw-body|type-is|parseurl|qs|finalhandler|send|serve-static|cors|vary|etag|fresh|accepts|negotiator|media-typer|content-[a-z]+|mime-[a-z]+|bytes|on-finished|ee-first|depd|debug|http-errors|path-to-regexp|proxy-addr|side-channel[^/]*)\//;
const PINO = /node_modules\/(pino[^/]*|sonic-boom|thread-stream|on-exit-leak-free|safe-stable-stringify)\//;

/** Self time by function and by family. Waiting for work is not busy time. */
export function readProfile(profile: Profiler.Profile): ProfileShares {
  const selfTime = new Map<number, number>();
  profile.samples?.forEach((node, index) => {
    selfTime.set(node, (selfTime.get(node) ?? 0) + (profile.timeDeltas?.[index] ?? 0));
  });
  const functions = new Map<string, number>();
  const families = new Map<string, number>();
  let busy = 0;
  for (const { id, callFrame } of profile.nodes) {
    const time = selfTime.get(id) ?? 0;
    if (callFrame.functionName === "(idle)") continue;
    busy += time;
    add(functions, nameOf(callFrame), time);
    add(families, familyOf(callFrame), time);
  }
  return { busySeconds: busy / 1e6, functions: shares(functions, busy), families: shares(families, busy) };
}

function familyOf({ functionName, url }: Frame): string {
  if (functionName === "(garbage collector)") return "garbage collection";
  // Writes are native functions without a file; what has a file only prepares them.
  if (url === "") return WRITES.test(functionName) ? "kernel writes" : "native, reads and the event loop";
  if (/^node:(_http|https?$|internal\/http)/.test(url)) return "node http";
  if (/^node:(net$|stream|internal\/(streams|stream_base)|internal\/webstreams)/.test(url)) {
    return "node net and streams";
  }
  if (url.startsWith("node:")) return "other node";
  if (EXPRESS.test(url)) return "express family";
  if (PINO.test(url)) return "pino";
  if (url.includes("node_modules/")) return "other packages";
  if (url.includes("/dist/")) return "gateway files";
  return "other files";
}

function nameOf({ functionName, url, lineNumber }: Frame): string {
  const file = url.replace(/^.*\/(dist|node_modules|bench)\//, "");
  return `${functionName || "(anonymous)"}${file === "" ? "" : ` ${file}:${lineNumber + 1}`}`;
}

function add(times: Map<string, number>, name: string, time: number): void {
  times.set(name, (times.get(name) ?? 0) + time);
}

function shares(times: Map<string, number>, busy: number): Share[] {
  return [...times]
    .map(([name, time]) => ({ name, share: time / busy }))
    .filter(({ share }) => share > 0)
    .sort((one, other) => other.share - one.share);
}
