import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Exchange, ExchangeEvents, RemoteHttp } from "../../src/upstream/remote-http.ts";
import { RemoteStream } from "../../src/upstream/remote-stream.ts";
