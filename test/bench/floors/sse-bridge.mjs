// The thin bridge with a child per session: the nearest floor to a gateway's stdio link.
import { startChild } from "./child-process.mjs";
import { serveSse } from "./sse-front.mjs";

serveSse((stream) => {
  const child = startChild(
    (line) => stream.write(`event: message\ndata: ${line}\n\n`),
    () => stream.end(),
  );
  return {
    take: (message) => child.stdin.write(`${JSON.stringify(message)}\n`),
    close: () => child.kill(),
  };
});
