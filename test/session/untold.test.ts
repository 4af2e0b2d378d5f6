import { describe, expect, it } from "vitest";
import { createCluster } from "./instances.ts";
import { ScriptedStream, settled } from "./scripted.ts";

/** An instance that holds the stream of a request, and has not given the request to the session's owner yet. */
async function open() {
  const cluster = createCluster();
  const [here, there] = [await cluster.start("i-1"), await cluster.start("i-2")];
  const { session } = await there.connect();
  const stream = new ScriptedStream();
  const id = here.carrier.hold(stream, session.id, { instanceId: "i-2", address: "memory:i-2" });
  const beat = async () => {
    here.carrier.beat((cluster.clock.now += 1000));
    await settled();
  };
  return { ...cluster, here, stream, id, beat };
}

describe("a stream of which its owner is being told with a request", () => {
  it("is not ended because the owner does not know of it, or is dead: that comes of the telling", async () => {
    const { network, stream, here, id, beat } = await open();
    await beat();
    network.kill("i-2");
    await beat();
    expect(stream.end_).toBe("open");
    here.carrier.release(id);
    expect([stream.end_, stream.events, here.carrier.count]).toEqual(["open", undefined, 0]);
  });

  it("is ended for its client to come back when the owner does not know of it after that", async () => {
    const { stream, here, id, beat } = await open();
    here.carrier.given(id);
    await beat();
    expect([stream.end_, stream.retryMs]).toEqual(["ended", 1234]);
  });

  it("is not ended with its instance's others, but when the owner knows of it", async () => {
    const { stream, here, id } = await open();
    here.carrier.close();
    expect(stream.end_).toBe("open");
    here.carrier.given(id);
    expect([stream.end_, stream.retryMs]).toEqual(["ended", 1234]);
  });
});
