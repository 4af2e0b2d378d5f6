import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Link, Upstream } from "../../src/upstream/upstream.ts";
import { call, encode, never, Recorder } from "./recorder.ts";

export interface UpstreamUnderTest {
  /** A fresh upstream, whose server has the tool `echo`. */
  create: () => Upstream;
  /** A call that makes the server send so many progress notifications before it answers. */
  talk: (id: number, steps: number) => Buffer;
}

/** What every upstream promises. */
export function describeUpstream(kind: string, { create, talk }: UpstreamUnderTest): void {
  describe(`every upstream: ${kind}`, () => {
    let upstream: Upstream;
    beforeEach(() => {
      upstream = create();
    });
    afterEach(() => upstream.close());

    async function open(): Promise<{ link: Link; seen: Recorder }> {
      const seen = new Recorder();
      return { link: await upstream.open(seen, never()), seen };
    }

    it("answers", async () => {
      const { link, seen } = await open();
      const params = {
        protocolVersion: "2025-06-18",
        capabilities: {},
        clientInfo: { name: "test", version: "1" },
      };
      await link.send(encode({ id: "first", method: "initialize", params }));
      const { result } = await seen.answer("first");
      expect(result).toMatchObject({
        protocolVersion: "2025-06-18",
        serverInfo: { name: expect.any(String) },
      });
      await link.send(encode({ method: "notifications/initialized" }));
      await link.send(call(0, "echo", { text: "hello" }));
      expect(await seen.answer(0)).toMatchObject({ result: { content: [{ type: "text", text: "hello" }] } });
    });

    it("keeps the order of 1,000 messages each way", async () => {
      const { link, seen } = await open();
      const numbers = Array.from({ length: 1000 }, (_, n) => n);
      for (const n of numbers) void link.send(call(n, "echo", { text: `text ${n}` }));
      await seen.answer(999);
      expect(seen.messages.map(({ id }) => id)).toEqual(numbers);
      expect(seen.texts()).toEqual(numbers.map((n) => `text ${n}`));
    });

    it("calls nothing before send has returned", async () => {
      const { link, seen } = await open();
      const sent = link.send(call(0, "echo", { text: "x" }));
      expect(seen.messages).toEqual([]);
      await sent;
      await seen.answer(0);
    });

    it("carries every character", async () => {
      const { link, seen } = await open();
      const text = 'é € 😀 \u0000 \u2028 \u2029 \r\n \ud800 \ufeff " \\ {}\n{}';
      await link.send(call(0, "echo", { text }));
      expect((await seen.answer(0)).result?.content?.[0]?.text).toBe(text);
    });

    it("carries a message of 1 MB each way", async () => {
      const { link, seen } = await open();
      const text = "é".repeat(500_000);
      await link.send(call(0, "echo", { text }));
      expect((await seen.answer(0)).result?.content?.[0]?.text === text).toBe(true);
    });

    it("ISO-01 never shows one link's messages to another, though their ids are equal", async () => {
      const links = await Promise.all([open(), open(), open()]);
      for (let id = 0; id < 100; id += 1) {
        for (const [n, { link }] of links.entries())
          void link.send(call(id, "echo", { text: `link ${n}, id ${id}` }));
      }
      await Promise.all(links.map(({ seen }) => seen.answer(99)));
      for (const [n, { seen }] of links.entries()) {
        expect(seen.texts()).toEqual(Array.from({ length: 100 }, (_, id) => `link ${n}, id ${id}`));
      }
    });

    it("delivers no more after pause, and on resume what is missing, once", async () => {
      const { link, seen } = await open();
      const other = await open();
      seen.onEach = ({ method }) => {
        if (method === "notifications/progress" && seen.messages.length === 1) link.pause();
      };
      await link.send(talk(7, 1000));
      await seen.notification("notifications/progress");
      for (let id = 0; id < 20; id += 1) {
        await other.link.send(call(id, "echo", { text: "a clock" }));
        await other.seen.answer(id);
      }
      expect(seen.messages.length).toBeLessThan(1000);
      link.resume();
      await seen.answer(7);
      const steps = seen.messages.flatMap(({ params }) => (params ? [params["progress"]] : []));
      expect(steps).toEqual(Array.from({ length: 1000 }, (_, n) => n + 1));
      expect(seen.messages).toHaveLength(1001);
    });

    it("ends once with `closed`, and then says nothing more", async () => {
      const { link, seen } = await open();
      await link.send(call(0, "echo", { text: "x" }));
      await seen.answer(0);
      const closing = link.close();
      await expect(link.send(call(1, "echo", { text: "late" }))).rejects.toMatchObject({
        reason: "upstream_exited",
      });
      await Promise.all([closing, link.close()]);
      await link.close();
      expect(seen.ends).toEqual(["closed"]);
      expect(seen.messages).toHaveLength(1);
      await expect(link.send(call(2, "echo", { text: "late" }))).rejects.toMatchObject({
        reason: "upstream_exited",
      });
      link.pause();
      link.resume();
    });

    it("closes a link that is paused, though its server still talks", async () => {
      const { link, seen } = await open();
      seen.onEach = () => link.pause();
      await link.send(talk(0, 1000));
      await seen.notification("notifications/progress");
      await link.close();
      expect(seen.ends).toEqual(["closed"]);
    });

    it("ends the links that are open when it is closed, and opens no more", async () => {
      const links = await Promise.all([open(), open()]);
      await Promise.all([upstream.close(), upstream.close()]);
      expect(links.map(({ seen }) => seen.ends)).toEqual([["closed"], ["closed"]]);
      await expect(open()).rejects.toMatchObject({ reason: "upstream_start_failed" });
    });

    it("opens nothing for one who has given up", async () => {
      const gone = AbortSignal.abort(new Error("the client left"));
      await expect(upstream.open(new Recorder(), gone)).rejects.toThrow("the client left");
    });
  });
}
