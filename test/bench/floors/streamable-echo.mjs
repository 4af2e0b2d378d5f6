// Floor (b) of Streamable HTTP: the least that it can cost in Node. It answers in place.
import { answerTo } from "./echo-answers.mjs";
import { answerJson, serveStreamable } from "./streamable-front.mjs";

const SESSION = {
  take(message, res) {
    if (res !== undefined) answerJson(res, answerTo(message));
  },
};

serveStreamable(() => SESSION);
