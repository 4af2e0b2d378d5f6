import type { Mode } from "./mode.ts";
import { CALL } from "./modes/call.ts";
import { GROWTH } from "./modes/growth.ts";
import { HEARTBEAT } from "./modes/heartbeat.ts";
import { IDLE } from "./modes/idle.ts";
import { LARGE } from "./modes/large.ts";
import { PROFILE } from "./modes/profile.ts";
import { RELAY } from "./modes/relay.ts";
import { SIZE } from "./modes/size.ts";
import { SLOW_READER } from "./modes/slow-reader.ts";
import { START } from "./modes/start.ts";
import { STORE_COST } from "./modes/store-cost.ts";
import { STORM, STORM_CHILDREN } from "./modes/storm.ts";

export const MODES: readonly Mode[] = [
  CALL,
  IDLE,
  PROFILE,
  START,
  SIZE,
  RELAY,
  STORE_COST,
  STORM,
  STORM_CHILDREN,
  SLOW_READER,
  LARGE,
  HEARTBEAT,
  GROWTH,
];
