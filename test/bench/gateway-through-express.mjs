// The same gateway with the thin hot path off, so that the difference is what that path saves. Plain JavaScript on the
// built files: under tsx it would be measured with a loader that the gateway itself runs without.
import process from "node:process";
import { readCommandLine } from "../../dist/command-line.js";
import { loadConfig } from "../../dist/config.js";
import { startGateway } from "../../dist/gateway.js";
import { createLog } from "../../dist/log.js";

const config = loadConfig(process.env, readCommandLine(process.argv.slice(2)));
const gateway = await startGateway(config, {
  log: createLog(config.logLevel),
  env: process.env,
  thinPath: false,
});
process.once("SIGTERM", () => void gateway.close());
