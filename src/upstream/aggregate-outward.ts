import type { Envelope } from "../protocol/json-rpc.ts";
import { locate, type Span, splice, textAt } from "../protocol/splice.ts";
import { type Origin, outwardId } from "./aggregate-ids.ts";
import { idOf, withMembers } from "./modern-members.ts";

const TOKEN = ["params", "_meta", "progressToken"];

/**
 * A request of a server as the client is to see it: two servers may choose the same id and the same token for progress.
 * Undefined when its id is too long for that.
 */
export function outwardRequest(message: Buffer, { id }: Envelope, origin: Origin): Buffer | undefined {
  const outward = outwardId(origin, id as string);
  if (outward === undefined) return undefined;
  const token = idOf(message, TOKEN);
  const outwardToken = token === undefined ? undefined : outwardId(origin, token);
  if (token !== undefined && outwardToken === undefined) return undefined;
  const changes = [{ ...(locate(message, ["id"]) as Span), text: outward }];
  if (outwardToken !== undefined) changes.push({ ...(locate(message, TOKEN) as Span), text: outwardToken });
  return splice(
    message,
    changes.sort((a, b) => a.start - b.start),
  );
}

/** A log message of a server, under the server's name: `files`, or `files/disk` where it names its logger. */
export function outwardLog(message: Buffer, server: string): Buffer {
  const logger = locate(message, ["params", "logger"]);
  if (logger === undefined) return withMembers(message, ["params"], { logger: JSON.stringify(server) });
  const text = textAt(message, logger);
  return text.startsWith('"')
    ? splice(message, [{ start: logger.start + 1, end: logger.start + 1, text: `${server}/` }])
    : message;
}
