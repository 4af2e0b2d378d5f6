import type { Envelope } from "../protocol/json-rpc.ts";
import type { Branch } from "./mux-branch.ts";
import type { TrunkRules } from "./mux-rules.ts";
import type { Trunk } from "./mux-trunk.ts";
import { Handshake } from "./shared-handshake.ts";
import { LogLevels } from "./shared-log-levels.ts";
import { Subscriptions } from "./shared-subscriptions.ts";
import { Tasks } from "./shared-tasks.ts";

/** These say that there is something new for all, and nothing of anyone. */
const FOR_ALL: ReadonlySet<string> = new Set([
  "notifications/tools/list_changed",
  "notifications/prompts/list_changed",
  "notifications/resources/list_changed",
]);

/** The manners of a server that was made for one session and is shared by many. */
export function sharedRules(trunk: Trunk): TrunkRules {
  const handshake = new Handshake(trunk);
  const subscriptions = new Subscriptions(trunk);
  const levels = new LogLevels(trunk, handshake.initialized);
  const tasks = new Tasks(trunk);

  function fromClient(branch: Branch, message: Buffer, envelope: Envelope): Promise<void> | undefined {
    const isRequest = envelope.kind === "request";
    switch (isRequest ? envelope.method : undefined) {
      case "initialize":
        return handshake.initialize(branch, message);
      case "resources/subscribe":
        return subscriptions.subscribe(branch, message, envelope);
      case "resources/unsubscribe":
        return subscriptions.unsubscribe(branch, message, envelope);
      case "logging/setLevel":
        return levels.set(branch, message, envelope);
      default:
    }
    if (envelope.method === "notifications/initialized") {
      const sent = handshake.confirm(branch, message, envelope);
      levels.adjust();
      return sent;
    }
    if (isRequest && envelope.method?.startsWith("tasks/")) {
      return tasks.take(branch, message, envelope);
    }
    const task = tasks.create(branch, message, envelope);
    return task ? task.sent : trunk.forward(branch, message, envelope);
  }

  function fromServer(message: Buffer, envelope: Envelope): void {
    const { kind, method = "" } = envelope;
    if (kind === "notification" && FOR_ALL.has(method)) {
      for (const branch of handshake.initialized) branch.deliver(message);
      return;
    }
    if (kind === "notification" && method === "notifications/resources/updated") {
      return subscriptions.updated(message);
    }
    const task = tasks.namedIn(message, envelope);
    if (kind === "notification" && task && !task.owner) return tasks.hold(task.taskId, message);
    const branch = task ? task.owner : trunk.onlyBranch();
    if (kind === "request") trunk.present(branch, message, envelope);
    else if (branch && (method !== "notifications/message" || levels.allows(branch, message))) {
      branch.deliver(message);
    }
  }

  return {
    fromClient,
    fromServer,
    left(branch) {
      handshake.left(branch);
      subscriptions.left(branch);
      levels.left(branch);
      tasks.left(branch);
    },
  };
}
