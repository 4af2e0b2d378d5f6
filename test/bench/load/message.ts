/** As much of a JSON-RPC message as the generator looks at. */
export interface Message {
  id?: number;
  method?: string;
  result?: { content?: { text?: string }[]; tools?: { name: string }[] };
  error?: { code: number; message: string };
  /** Of a text that was cut. */
  textLength?: number;
}

/** Above it the answers are of large results, which are told by their size. */
const LONG = 65_536;
const KEPT = 64;
const TEXT = '"text":"';

/**
 * Parses a message. The text of a long one is cut first: its nonce stands at its start, its filling needs no escapes,
 * and parsing a megabyte of it would make the generator the limit.
 */
export function readMessage(json: string): Message {
  const start = json.length <= LONG ? -1 : json.indexOf(TEXT) + TEXT.length;
  const end = start < TEXT.length ? -1 : json.indexOf('"', start);
  if (end - start <= LONG) return JSON.parse(json) as Message;
  const message = JSON.parse(json.slice(0, start + KEPT) + json.slice(end)) as Message;
  return { ...message, textLength: end - start };
}
