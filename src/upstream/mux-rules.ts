import type { Envelope } from "../protocol/json-rpc.ts";
import type { Branch } from "./mux-branch.ts";
import type { Trunk } from "./mux-trunk.ts";

/** What differs between the eras where many share one link: what goes on to the server, and who hears what names nobody. */
export interface TrunkRules {
  /** Asks the server what must be known before anyone may speak. Rejects with why nobody can. */
  begin?(): Promise<void>;
  /** Gives a client's message to the server, by `Trunk.forward`, or answers it. As `Link.send`. */
  fromClient(branch: Branch, message: Buffer, envelope: Envelope): Promise<void> | undefined;
  /** A request or notification of the server that names no client's request. */
  fromServer(message: Buffer, envelope: Envelope): void;
  /** A branch has ended. */
  left?(branch: Branch): void;
  /** Tells the server that a request, by our id, is not waited for any more. */
  cancel?(innerId: string): Buffer;
}

/** Forwards everything, and gives what names nobody to the only one whom it can be for. */
export function plainRules(trunk: Trunk): TrunkRules {
  return {
    fromClient: (branch, message, envelope) => trunk.forward(branch, message, envelope),
    fromServer(message, envelope) {
      const branch = trunk.onlyBranch();
      if (envelope.kind === "request") trunk.present(branch, message, envelope);
      else branch?.deliver(message);
    },
  };
}
