import { describeRelay } from "./conformance.ts";
import { openHttpInstance } from "./instances.ts";
import { plugInto, type Plug } from "../session-store/plug.ts";

describeRelay("http", async () => ({
  where: { kind: "http" },
  inject: async ({ address }, { seal, payload }) => {
    const headers = { "x-mcp-relay": seal };
    await (await fetch(`${address}/internal/relay`, { method: "POST", headers, body: payload })).arrayBuffer();
  },
  openLossy: async (one, two) => {
    const plugs: Plug[] = [];
    const peer = await openHttpInstance(two, async (port) => {
      plugs.push(await plugInto(port));
      return `http://127.0.0.1:${plugs[0]?.port}`;
    });
    const sender = await openHttpInstance(one);
    const close = async () => void (await Promise.all([peer.close(), plugs[0]?.pull()]));
    return {
      sender,
      peer: { ...peer, close },
      swallow: () => plugs[0]?.swallow(),
      cut: () => plugs[0]?.cut(),
    };
  },
}));
