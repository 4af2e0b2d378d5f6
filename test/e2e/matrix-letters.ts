import type { RawClient } from "./matrix-raw.ts";
import type { World } from "./matrix-servers.ts";

/** Uses the wire as no SDK does, and resolves with what came back. */
export interface Letters {
  run(raw: RawClient, world: World): Promise<unknown>;
  /** What must come back. */
  expected: unknown;
}

/** More than a JavaScript number can hold. */
const BIG = "12345678901234567890";
const IDS = [
  "9007199254740993",
  "18446744073709551615",
  "-9223372036854775808",
  "0",
  "7",
  '"7"',
  '""',
  '"a string with ünï ☃"',
];
/** JSON texts that a parser and a writer would not give back letter by letter. */
const TEXTS = [
  String.raw`"lone \ud800 and \udc00, \uDBFF last"`,
  `"raw \u2028 and \u2029 and \ufeff"`,
  String.raw`"escaped \u2028 \u2029 \u0000 \u001f \/ \u0041"`,
  '"astral 😀 𝒳 \u{10ffff}"',
  String.raw`"escaped astral \ud83d\ude00"`,
  '"combining e\u0301 \u1112\u1161\u11ab \u0915\u094d\u0937 👩\u200d👩\u200d👧"',
  '"right to left שלום \u202eمرحبا\u202c"',
  String.raw`{"\u0061":1,"a":2,"":{"__proto__":null}}`,
  "[1E400,-0,0.10,1e-7,12345678901234567890.0]",
];
const FOUR_MB = 4_000_000;

const textOf = (raw: RawClient, id: string, method: string, payload: string): string =>
  `{"jsonrpc":"2.0","id":${id},"method":"${method}","x-client":{"n":${BIG}},"params":{${raw.meta}"taskId":"t1","payload":${payload},"endOfPayload":true}}`;

/** Sends a payload to be sent back, and reads the answer without a JSON library. */
async function reflect(
  raw: RawClient,
  id: string,
  payload: string,
  method = "vendor/mirror",
): Promise<Record<string, unknown>> {
  const messages = await raw.ask(id, method, textOf(raw, id, method, payload));
  const answer = messages.at(-1) as string;
  const end = answer.indexOf(',"saw":');
  if (end < 0) return { refused: (JSON.parse(answer) as { error?: { code: number } }).error?.code };
  const at = (member: string) => new RegExp(`"${member}":(\\{[^}]*\\})`).exec(answer.slice(end))?.[1];
  return {
    id: /"id":("(?:[^"\\]|\\.)*"|-?\d+)/.exec(answer.slice(0, 400))?.[1],
    payload: answer.slice(answer.indexOf('"payload":') + '"payload":'.length, end),
    saw: at("saw"),
    nested: at("x-nested"),
    top: /"x-top":(\{[^}]*\})/.exec(answer.slice(0, 400))?.[1],
    before: messages.slice(0, -1),
  };
}

const members = { saw: `{"n":${BIG}}`, nested: `{"n":${BIG}}`, top: `{"n":${BIG}}` };
/** As many bytes as the message is long in the end. */
const filler = (bytes: number) => `"${"x".repeat(bytes)}"`;

export const LETTERS = {
  "vendor method and members": {
    run: (raw) => reflect(raw, "1", '{"any":["thing"]}'),
    expected: { id: "1", payload: '{"any":["thing"]}', ...members, before: [] },
  },
  "vendor notification of the server": {
    async run(raw) {
      const { before } = await reflect(raw, "2", "1", "vendor/notice");
      return before;
    },
    expected: [`{"jsonrpc":"2.0","method":"notifications/vendor","params":{"n":${BIG}}}`],
  },
  "vendor notification of the client": {
    async run(raw, world) {
      const label = `noticed-${world.label()}`;
      const method = `notifications/vendor/${label}`;
      const meta = raw.meta.slice(0, -1);
      await raw.tell(method, `{"jsonrpc":"2.0","method":"${method}","params":{${meta}}}`);
      // What is behind it has come, so it came or never will.
      await reflect(raw, "3", "1");
      return world.seen(label, 100).then(
        () => "told",
        () => "not told",
      );
    },
    expected: "told",
  },
  "tasks, word for word": {
    run: (raw) => reflect(raw, '"task"', "1", "tasks/get"),
    expected: { id: '"task"', payload: "1", ...members, before: [] },
  },
  "64-bit and string ids": {
    async run(raw) {
      const seen: unknown[] = [];
      for (const id of IDS) seen.push((await reflect(raw, id, "1"))["id"]);
      return seen;
    },
    expected: IDS,
  },
  "unicode and numbers": {
    async run(raw) {
      const seen: unknown[] = [];
      for (const text of TEXTS) seen.push((await reflect(raw, '"u"', text))["payload"]);
      return seen;
    },
    expected: TEXTS,
  },
  "4 MB both ways": {
    async run(raw) {
      const around = Buffer.byteLength(textOf(raw, "4", "vendor/mirror", '""'));
      const payload = filler(FOUR_MB - around);
      const { payload: back } = await reflect(raw, "4", payload);
      return typeof back === "string" && back === payload;
    },
    expected: true,
  },
} satisfies Record<string, Letters>;

export type LettersName = keyof typeof LETTERS;

/** The built-in server has nothing that sends letters back, but a tool that sends text back. */
async function echo(raw: RawClient, id: string, text: string): Promise<unknown> {
  const members = `"name":"echo","arguments":{"text":${text},"x-nested":{"n":${BIG}}}`;
  const message = `{"jsonrpc":"2.0","id":${id},"method":"tools/call","x-client":{"n":${BIG}},"params":{${raw.meta}${members}}}`;
  const answer = (await raw.ask(id, "tools/call", message)).at(-1) as string;
  const { result, error } = JSON.parse(answer) as {
    result?: { content: [{ text: string }] };
    error?: { code: number };
  };
  return result === undefined ? { refused: error?.code } : result.content[0].text;
}

const ECHOED = TEXTS.filter((text) => text.startsWith('"'));

export const DEMO_LETTERS: Record<LettersName, Letters | null> = {
  "vendor method and members": {
    async run(raw) {
      const refused = await reflect(raw, "1", "1");
      return { echoed: await echo(raw, "2", '"text"'), ...refused };
    },
    expected: { echoed: "text", refused: -32601 },
  },
  "vendor notification of the server": null,
  "vendor notification of the client": {
    async run(raw) {
      const meta = raw.meta.slice(0, -1);
      const method = "notifications/vendor/any";
      await raw.tell(method, `{"jsonrpc":"2.0","method":"${method}","params":{${meta}}}`);
      return echo(raw, "3", '"still there"');
    },
    expected: "still there",
  },
  "tasks, word for word": {
    run: (raw) => reflect(raw, '"task"', "1", "tasks/get"),
    expected: { refused: -32601 },
  },
  "64-bit and string ids": {
    async run(raw) {
      const seen: unknown[] = [];
      for (const id of IDS) {
        const text = `{"jsonrpc":"2.0","id":${id},"method":"tools/list","params":{${raw.meta.slice(0, -1)}}}`;
        const answer = (await raw.ask(id, "tools/list", text)).at(-1) as string;
        seen.push(answer.includes(`"id":${id}`) ? id : answer.slice(0, 200));
      }
      return seen;
    },
    expected: IDS,
  },
  "unicode and numbers": {
    async run(raw) {
      const seen: unknown[] = [];
      for (const text of ECHOED) seen.push(await echo(raw, '"u"', text));
      return seen;
    },
    expected: ECHOED.map((text) => JSON.parse(text) as unknown),
  },
  "4 MB both ways": {
    async run(raw) {
      const text = filler(FOUR_MB - 2000);
      return (await echo(raw, "4", text)) === text.slice(1, -1);
    },
    expected: true,
  },
};
