import type { Transform } from "node:stream";
import zlib from "node:zlib";

/** One way to compress. */
export interface Packing {
  pack: () => Transform;
  unpack: () => Transform;
}

/** Node 20 has no zstd, and neither have its types. */
const zstd = zlib as unknown as Partial<
  Record<"createZstdCompress" | "createZstdDecompress", () => Transform>
>;

const { createZstdCompress, createZstdDecompress } = zstd;

const PACKINGS: Readonly<Record<string, Packing | undefined>> = {
  ".gz": { pack: () => zlib.createGzip(), unpack: () => zlib.createGunzip() },
  ".br": {
    // The default, 11, takes a hundred times longer for a tenth less.
    pack: () => zlib.createBrotliCompress({ params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } }),
    unpack: () => zlib.createBrotliDecompress(),
  },
  ".zst":
    createZstdCompress && createZstdDecompress
      ? { pack: createZstdCompress, unpack: createZstdDecompress }
      : undefined,
};

/** How a file is compressed, by the end of its name. `unknown` when this Node lacks what it takes. */
export function packingOf(file: string): Packing | "plain" | "unknown" {
  const end = Object.keys(PACKINGS).find((extension) => file.endsWith(extension));
  return end === undefined ? "plain" : (PACKINGS[end] ?? "unknown");
}
