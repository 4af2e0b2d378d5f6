import { createHash, createHmac } from "node:crypto";
import { sealAsk, type RelayKey, type Sealed } from "../../src/relay/envelope.ts";
import type { RelayMessage } from "../../src/relay/relay.ts";

export type Header = Record<string, unknown>;

/** The header behind a seal, without looking at the proof. */
export const headerOf = ({ seal }: Sealed): Header =>
  JSON.parse(Buffer.from(seal.split(".")[1] ?? "", "base64url").toString()) as Header;

export const encodeHeader = (header: Header): string =>
  Buffer.from(JSON.stringify(header)).toString("base64url");

/** What somebody with the key could send: an envelope with a right proof and any header. */
export function forge(key: RelayKey, header: Header, payload: Buffer, purpose = "ask"): Sealed {
  const text = encodeHeader(header);
  const proof = createHmac("sha256", key).update(`${purpose}.${text}`).digest("base64url");
  return { seal: `${purpose}.${text}.${proof}`, payload };
}

/** The same with any payload, to which its header fits. */
export function forgePayload(key: RelayKey, sealed: Sealed, text: string): Sealed {
  const payload = Buffer.from(text);
  const sha256 = createHash("sha256").update(payload).digest("base64url");
  return forge(key, { ...headerOf(sealed), size: payload.length, sha256 }, payload);
}

const flipped = (bytes: Buffer, at: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
};

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Another letter whose first four bits are the same: the last two bits mean nothing at the end of 32 bytes. */
const twinOf = (letter = "A"): string => LETTERS[LETTERS.indexOf(letter) ^ 1] as string;

/** The same envelope, altered by somebody without the key in every way that we can think of. */
export function alterations(sealed: Sealed): [string, Sealed][] {
  const { seal, payload } = sealed;
  const [purpose, text = "", proof = ""] = seal.split(".");
  const header = headerOf(sealed);
  const altered: [string, Sealed][] = [];
  const add = (what: string, one: Partial<Sealed>): void => void altered.push([what, { ...sealed, ...one }]);

  for (const [name, value] of Object.entries(header)) {
    const other = typeof value === "number" ? value + 1 : `${String(value)}x`;
    add(`header ${name}`, { seal: `${purpose}.${encodeHeader({ ...header, [name]: other })}.${proof}` });
    const { [name]: _, ...rest } = header;
    add(`header without ${name}`, { seal: `${purpose}.${encodeHeader(rest)}.${proof}` });
  }
  // The first and the last letter of each part, and some between: base64url has letters with bits that mean nothing.
  for (let at = 0; at < seal.length; at += at > 5 && at < seal.length - 5 ? 7 : 1) {
    const letter = seal[at] === "A" ? "B" : "A";
    add(`seal letter ${at}`, { seal: `${seal.slice(0, at)}${letter}${seal.slice(at + 1)}` });
  }
  add("a proof of the same bytes in other letters", { seal: `${seal.slice(0, -1)}${twinOf(seal.at(-1))}` });
  add("a padded proof", { seal: `${seal}=` });
  add("no proof", { seal: `${purpose}.${text}.` });
  add("no proof and no dot", { seal: `${purpose}.${text}` });
  add("a longer proof", { seal: `${seal}A` });
  add("a fourth word", { seal: `${seal}.A` });
  add("another purpose", { seal: `answer.${text}.${proof}` });
  for (let at = 0; at < payload.length; at += 5) add(`payload byte ${at}`, { payload: flipped(payload, at) });
  add("a byte less", { payload: payload.subarray(0, -1) });
  add("a byte more", { payload: Buffer.concat([payload, Buffer.from(" ")]) });
  add("no payload", { payload: Buffer.alloc(0) });
  return altered;
}

/** Envelopes with a right proof that must be dropped all the same. */
export function untimely(
  key: RelayKey,
  route: { from: string; to: string },
  message: RelayMessage,
): [string, Sealed][] {
  const sealed = sealAsk(key, { ...route, deadlineMs: 5000 }, message);
  const { seal: _, payload } = sealed;
  const header = headerOf(sealed);
  const now = Date.now();
  const cases: [string, Header][] = [
    ["expired", { expiresAt: now - 1 }],
    ["from the past", { sentAt: now - 61_000, expiresAt: now + 5000 }],
    ["from the future", { sentAt: now + 65_000, expiresAt: now + 70_000 }],
    ["relayed before", { hop: 2 }],
    ["without a hop", { hop: undefined }],
    ["of another version", { v: 2 }],
    ["for another instance", { to: `${route.to}x` }],
    ["of no known size", { size: -1 }],
    ["too large", { size: 16 * 1024 * 1024 + 1 }],
  ];
  return cases.map(([what, over]) => [what, forge(key, { ...header, id: what, ...over }, payload)]);
}
