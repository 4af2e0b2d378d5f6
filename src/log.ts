import { pino, type DestinationStream, type Logger } from "pino";

export type Log = Logger;

/** The levels of `LOG_LEVEL`. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Writes lines for people; JSON lines are for machines. */
async function prettyStream(out: DestinationStream): Promise<DestinationStream> {
  const { prettyFactory } = await import("pino-pretty");
  const pretty = prettyFactory({
    messageKey: "message",
    ignore: "pid,hostname,instance",
    translateTime: "SYS:HH:MM:ss",
    colorize: true,
  });
  return { write: (line) => out.write(pretty(line)) };
}

/** The logger of a process: as `createLog`, but lines for people when `out` is a terminal. */
export async function openLog(
  level: LogLevel,
  out: NodeJS.WritableStream & { isTTY?: boolean } = process.stdout,
): Promise<Log> {
  return createLog(level, out.isTTY ? await prettyStream(out) : out);
}

/**
 * The logger: one JSON object a line on `out`, with `message` and a string `level` as Railway reads them. Keys, tokens
 * and message bodies are never handed to it; a test looks for them.
 */
export function createLog(level: LogLevel, out: DestinationStream = process.stdout): Log {
  return pino(
    {
      level,
      messageKey: "message",
      base: null,
      formatters: { level: (label) => ({ level: label }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      // An error is told by its name, message and reason: a library's error object may carry a whole command with its values.
      serializers: { err: describeError },
    },
    { write: (line) => out.write(line) },
  );
}

function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { name: typeof error };
  const { reason, code } = error as { reason?: unknown; code?: unknown };
  return {
    name: error.name,
    ...(reason === undefined ? { message: firstLine(error.message) } : { reason }),
    ...(typeof code === "string" ? { code } : {}),
    ...(error.cause instanceof Error ? { cause: describeError(error.cause) } : {}),
    ...(reason === undefined && error.stack ? { stack: framesOf(error.stack) } : {}),
  };
}

/** UpstashError appends the whole command to its message. */
const firstLine = (text: string): string => (text.split(/\n|, command was:/, 1)[0] ?? "").slice(0, 300);

/** Where it happened, without the message that a stack begins with. */
const framesOf = (stack: string): string =>
  stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .slice(0, 8)
    .join("\n");
