// The thin bridge of Streamable HTTP with a child per session, started at `initialize`.
import { startChild } from "./child-process.mjs";
import { answerJson, serveStreamable } from "./streamable-front.mjs";

serveStreamable(() => {
  const waiting = new Map();

  const child = startChild(
    (line) => {
      // A parse, since an id may stand anywhere in a line; the line itself goes on as it is.
      const { id } = JSON.parse(line);
      const res = waiting.get(id);
      if (res === undefined) return;
      waiting.delete(id);
      answerJson(res, line);
    },
    () => {
      for (const res of waiting.values()) res.destroy();
    },
  );
  return {
    take(message, res) {
      if (res !== undefined) waiting.set(message.id, res);
      child.stdin.write(`${JSON.stringify(message)}\n`);
    },
  };
});
