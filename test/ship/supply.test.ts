import { describe, expect, test } from "vitest";
import { atLeast, lockfile, manifest, nameAt, production } from "./lockfile.ts";
import { REASONS } from "./reasons.ts";

const MOST_DIRECT_DEPENDENCIES = 14;

/** The oldest version without a known hole that concerns a gateway. */
const MINIMUM: Record<string, string> = {
  "@modelcontextprotocol/sdk": "1.32.2",
  "body-parser": "2.3.0",
  express: "5.0.0",
  qs: "6.14.1",
  undici: "7.28.0",
};

describe("what the gateway depends on", () => {
  test("is a short list, each with its reason", () => {
    const names = Object.keys(manifest.dependencies ?? {}).toSorted();
    expect(names).toEqual(Object.keys(REASONS).toSorted());
    expect(names.length).toBeLessThanOrEqual(MOST_DIRECT_DEPENDENCIES);
  });

  test("is pinned exactly, so that two builds of one commit are the same", () => {
    const ranges = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    expect(ranges.filter(([, range]) => !/^\d+\.\d+\.\d+$/.test(range))).toEqual([]);
  });

  test("runs no script of its own when it is installed", () => {
    expect(production.filter(([, pack]) => pack.hasInstallScript === true).map(([place]) => place)).toEqual(
      [],
    );
  });

  test.each(Object.entries(MINIMUM))(
    "holds %s in version %s or later, wherever it stands in the tree",
    (name, minimum) => {
      const versions = production
        .filter(([place]) => nameAt(place) === name)
        .map(([, pack]) => pack.version ?? "0");
      expect(versions).not.toEqual([]);
      expect(versions.filter((version) => !atLeast(version, minimum))).toEqual([]);
    },
  );

  test("is free to use in a closed product: permissive licences only", () => {
    const permissive = /^\(?(MIT|ISC|0BSD|BSD-[23]-Clause|Apache-2\.0|BlueOak-1\.0\.0|Unlicense|MIT-0)\b/;
    expect(
      production.filter(([, pack]) => !permissive.test(pack.license ?? "none")).map(([place]) => place),
    ).toEqual([]);
  });

  test("runs on the oldest Node that the gateway supports", () => {
    const wantsNewer = production.filter(([, pack]) => {
      const oldest = /^>=? ?(\d+)(?:\.\d+)*$/.exec(pack.engines?.["node"] ?? "")?.[1];
      return oldest !== undefined && Number(oldest) > 20;
    });
    expect(lockfile.packages[""]?.engines?.["node"]).toBe(">=20.19");
    expect(wantsNewer.map(([place]) => place)).toEqual([]);
  });
});

test("versions are compared by number, part by part", () => {
  expect(atLeast("7.28.0", "7.28.0")).toBe(true);
  expect(atLeast("7.100.0", "7.28.0")).toBe(true);
  expect(atLeast("7.27.9", "7.28.0")).toBe(false);
  expect(atLeast("6.99.99", "7.28.0")).toBe(false);
});
