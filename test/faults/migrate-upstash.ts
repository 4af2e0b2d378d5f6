import process from "node:process";
import { startUpstash } from "../support/upstash-server.ts";

/** The stand-in of Upstash in a process of its own: it says where it listens, and then its bill whenever it is asked. */
const upstash = await startUpstash({ redisUrl: process.argv[2] ?? "" });
process.send?.({ url: upstash.url, token: upstash.token });
process.on("message", () => process.send?.({ billed: upstash.billed() }));
// Never outlives the story.
process.on("disconnect", () => process.exit(0));
