import type { Mode } from "./mode.ts";
import { CALL } from "./modes/call.ts";
import { IDLE } from "./modes/idle.ts";
import { PROFILE } from "./modes/profile.ts";

export const MODES: readonly Mode[] = [CALL, IDLE, PROFILE];
