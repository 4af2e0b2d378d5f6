import type { SessionRecord } from "../session-store/session-store.ts";
import type { Visitor } from "./fingerprint.ts";
import type { Told } from "./handshake.ts";

export interface NewRecordParts {
  id: string;
  owner: string;
  visitor: Visitor;
  transport: SessionRecord["transport"];
  told: Told | undefined;
}

/** The record of a session that begins. */
export function newRecord({ id, owner, visitor, transport, told }: NewRecordParts): SessionRecord {
  const { caller, key, server, userAgent, address, clientId } = visitor;
  const client = { userAgent, address, ...(clientId === undefined ? {} : { clientId }) };
  const createdAt = new Date().toISOString();
  const whose = { caller, ...(key === undefined ? {} : { key }) };
  return { v: 1, id, owner, epoch: 1, ...whose, server, transport, createdAt, client, ...told };
}

/** Whose session a record is of. */
export function visitorOf({ caller, key, server, client }: SessionRecord): Visitor {
  return { caller, key, server, clientId: undefined, ...client };
}

/** What a fresh link must be told, as a record has it. */
export function toldOf({ initialize, logLevel, subscriptions }: SessionRecord): Told {
  return {
    ...(initialize === undefined ? {} : { initialize }),
    ...(logLevel === undefined ? {} : { logLevel }),
    ...(subscriptions === undefined ? {} : { subscriptions }),
  };
}
