// The thin bridge of Streamable HTTP before one shared child.
import { openSharedChild } from "./shared-child.mjs";
import { answerJson, serveStreamable } from "./streamable-front.mjs";

const child = await openSharedChild(answerJson);

serveStreamable(() => child);
