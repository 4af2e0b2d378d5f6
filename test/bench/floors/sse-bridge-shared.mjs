// The thin bridge before one shared child: the nearest floor to a gateway's shared link.
import { openSharedChild } from "./shared-child.mjs";
import { serveSse } from "./sse-front.mjs";

const child = await openSharedChild((stream, text) => stream.write(`event: message\ndata: ${text}\n\n`));

serveSse((stream) => ({
  take: (message) => child.take(message, stream),
  close() {},
}));
