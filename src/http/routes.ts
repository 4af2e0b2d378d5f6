import type { IncomingMessage, ServerResponse } from "node:http";
import type { Events } from "../events.ts";
import type { Log } from "../log.ts";
import type { Carrier } from "../session/carrier.ts";
import type { Elsewhere } from "../session/elsewhere.ts";
import type { PostTokens } from "../session/post-token.ts";
import type { Reception } from "../session/reception.ts";
import type { Servers } from "../session/servers.ts";
import type { Sessions } from "../session/sessions.ts";
import type { Authenticator } from "./authenticate.ts";
import type { TrustProxy } from "./client-address.ts";
import type { ModernDoor } from "./modern-request.ts";

/** What the routes need of the rest of the gateway. */
export interface DoorParts {
  servers: Servers;
  sessions: Sessions;
  reception: Reception;
  elsewhere: Elsewhere;
  carrier: Carrier;
  /** Requests of the 2026-07-28 era. */
  modern: ModernDoor;
  /** Whether the key of this id opens anything now. */
  mayUse: (key: string) => boolean;
  tokens: PostTokens;
  authenticator: Authenticator;
  trustProxy: TrustProxy;
  /** Largest message that a client may send. */
  maxBodyBytes: number;
  events: Events;
  log: Log;
}

/** One route, on Node's own request and response, so that it runs the same with Express around it and without. Throws faults. */
export type Route = (req: IncomingMessage, res: ServerResponse) => void | Promise<void>;
