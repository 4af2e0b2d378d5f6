import { randomBytes } from "node:crypto";
import { digestOf } from "./api-key.ts";

/** A key that was just made. */
export interface MintedKey {
  /** The key itself, to be shown once. */
  key: string;
  id: string;
  /** As the keys file has it. */
  hash: string;
}

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** 256 bits in letters of 62 kinds. */
const KEY_LETTERS = 43;
const CHECK_LETTERS = 6;
/** What programs that look for leaked keys search for. */
const PREFIX = "mgw_live_";
const FORM = /^mgw_live_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/;

/** Makes a key of 256 random bits, which a double click selects whole. */
export function mintKey(): MintedKey {
  const body = PREFIX + inLetters(randomBytes(32), KEY_LETTERS);
  const key = `${body}_${checkOf(body)}`;
  return { key, id: `k_${randomBytes(6).toString("hex")}`, hash: `sha256:${digestOf(key).toString("hex")}` };
}

/** Whether this was meant to be a key that `mintKey` made. */
export const claimsToBeMinted = (text: string): boolean => text.startsWith(PREFIX);

/** Whether this has the form of a key that `mintKey` made, with no letter wrong or missing. Whether it opens is another question. */
export function looksLikeKey(text: string): boolean {
  return FORM.test(text) && text.endsWith(`_${checkOf(text.slice(0, PREFIX.length + KEY_LETTERS))}`);
}

const checkOf = (body: string): string => inLetters(digestOf(body).subarray(0, 5), CHECK_LETTERS);

/** The last so many letters of this number, written with 62 digits. */
function inLetters(bytes: Buffer, length: number): string {
  let rest = BigInt(`0x${bytes.toString("hex")}`);
  let letters = "";
  while (letters.length < length) {
    letters = (LETTERS[Number(rest % 62n)] as string) + letters;
    rest /= 62n;
  }
  return letters;
}
