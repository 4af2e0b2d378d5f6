import { isIP } from "node:net";
import type { GatewayEvent } from "../events.ts";

/** What a record says beside its place in the chain, in the order in which it is written. */
type Said = Record<string, string | number | undefined>;

/** Stands where a value has not the form that its field has: it may be anything, a secret too. */
const NOT_SHOWN = "(not shown)";
const TARGET_LENGTH = 200;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const NAME = /^[a-z0-9][a-z0-9_.-]{0,31}$/i;
const SERVER = /^[a-z0-9_.-]{1,64}$/i;
const WORD = /^[a-z0-9][a-z0-9_:-]{0,47}$/i;
/** As keys are drawn, here and by `openssl rand -hex`; they would pass for names. */
const DRAWN = /^mgw_|[0-9a-f]{32}/i;

const shaped = (form: RegExp) => (value: string | undefined) =>
  value === undefined || (form.test(value) && !DRAWN.test(value)) ? value : NOT_SHOWN;
const sessionId = shaped(UUID);
const name = shaped(NAME);
const serverName = shaped(SERVER);
const word = shaped(WORD);
const address = (value: string) => (isIP(value) === 0 ? NOT_SHOWN : value);

/** What somebody worked on, without what a URL may carry beside its host. */
function target(value: string): string {
  const plain = value.replace(
    /([a-z][a-z0-9+.-]{0,31}:)\/\/(?:[^\s/?#]*@)?([^\s/?#@]*)\S*/gi,
    (_url, scheme: string, host: string) => `${scheme}//${host}`,
  );
  return plain.length > TARGET_LENGTH ? `${plain.slice(0, TARGET_LENGTH)}…` : plain;
}

/** The members of an event that are recorded; undefined for one that is a matter of metrics alone. */
function saidOf(event: GatewayEvent): Said | undefined {
  switch (event.type) {
    case "session_opened":
      return {
        ...whose(event),
        address: address(event.address),
        server: serverName(event.server),
        transport: word(event.transport),
      };
    case "session_adopted":
      return { ...whose(event), address: address(event.address), where: word(event.where) };
    case "session_claimed":
      return { ...whose(event), epoch: event.epoch };
    case "session_handed_over":
      return whose(event);
    case "session_closed":
      return {
        ...whose(event),
        server: serverName(event.server),
        reason: word(event.end),
        seconds: event.seconds,
      };
    case "credential_refused":
      return {
        outcome: "failure",
        address: address(event.address),
        reason: word(event.reason),
        shown: word(event.shown),
      };
    case "session_foreign":
      return {
        outcome: "failure",
        caller: name(event.caller),
        address: address(event.address),
        session: sessionId(event.session),
      };
    case "session_refused":
      return {
        outcome: "failure",
        caller: name(event.caller),
        address: address(event.address),
        reason: word(event.reason),
      };
    case "key_added":
    case "key_removed":
    case "key_changed":
    case "key_expired":
      return { caller: name(event.caller), key: name(event.key) };
    case "operator_action":
      return {
        outcome: event.outcome === "done" ? "success" : "failure",
        action: word(event.action),
        target: target(event.target),
      };
    case "store_down":
      return { outcome: "failure", store: word(event.store), reason: word(event.kind) };
    case "store_up":
      return { store: word(event.store), reason: word(event.kind) };
    case "stream_opened":
    case "stream_closed":
    case "server_restarted":
    case "server_circuit":
    case "relay":
      return undefined;
  }
}

const whose = (event: { session: string; caller: string; key?: string | undefined }): Said => ({
  caller: name(event.caller),
  key: name(event.key),
  session: sessionId(event.session),
});

/** What is recorded of an event, as the members of a JSON object without its braces; undefined when nothing is. */
export function recordOf(event: GatewayEvent, at: Date, instance: string): string | undefined {
  const said = saidOf(event);
  return said && membersOf(event.type, at, instance, said);
}

/** The members of a record, in JSON without braces. */
export function membersOf(event: string, at: Date, instance: string, said: Said): string {
  const members = { at: at.toISOString(), instance, event, outcome: "success", ...said };
  // A terminal obeys some of these, and JSON leaves them as they are.
  return JSON.stringify(members)
    .slice(1, -1)
    .replace(
      /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
}
