/** What a label says in place of a word that is not known, or is one too many. */
export const OTHER = "other";

/** A longer name is not worth a series. */
const MAX_NAME_LENGTH = 128;
/** The most bytes that a name of that length has in JSON. */
export const MAX_NAME_BYTES = MAX_NAME_LENGTH * 6;

/** Whether a label may say this. */
export const isName = (text: string): boolean => text.length > 0 && text.length <= MAX_NAME_LENGTH;

/** The requests that clients may send in one of the protocol's versions. */
export const METHODS: readonly string[] = [
  "initialize",
  "ping",
  "server/discover",
  "tools/list",
  "tools/call",
  "prompts/list",
  "prompts/get",
  "resources/list",
  "resources/templates/list",
  "resources/read",
  "resources/subscribe",
  "resources/unsubscribe",
  "subscriptions/listen",
  "completion/complete",
  "logging/setLevel",
  "tasks/list",
  "tasks/get",
  "tasks/result",
  "tasks/update",
  "tasks/cancel",
];

/** Values of a label that come from elsewhere: the first so many are told, and whatever comes later is `other`. */
export class Words {
  readonly #limit: number;
  readonly #known = new Set<string>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The word itself, which is known from now on, or `other`. */
  admit(word: string): string {
    if (this.#known.has(word)) return word;
    if (this.#known.size >= this.#limit || !isName(word)) return OTHER;
    this.#known.add(word);
    return word;
  }
}
