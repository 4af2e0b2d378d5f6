// Floor (b): the least that HTTP+SSE can cost in Node. It answers in place.
import { answerTo } from "./echo-answers.mjs";
import { serveSse } from "./sse-front.mjs";

serveSse((stream) => ({
  take(message) {
    const answer = answerTo(message);
    if (answer !== undefined) stream.write(`event: message\ndata: ${answer}\n\n`);
  },
  close() {},
}));
