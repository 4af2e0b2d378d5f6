import { readFileSync } from "node:fs";

/** What package-lock.json says of one installed package. */
export interface LockedPackage {
  version?: string;
  resolved?: string;
  integrity?: string;
  link?: boolean;
  dev?: boolean;
  devOptional?: boolean;
  hasInstallScript?: boolean;
  license?: string;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  engines?: Record<string, string>;
}

export interface Lockfile {
  lockfileVersion: number;
  /** By place in the tree: "" is the project, then "node_modules/a", "node_modules/a/node_modules/b" … */
  packages: Record<string, LockedPackage>;
}

const read = (path: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8"));

export const lockfile = read("package-lock.json") as Lockfile;
export const manifest = read("package.json") as LockedPackage & {
  bin: Record<string, string>;
  scripts: Record<string, string>;
};

/** The packages, without the project itself. */
export const locked = Object.entries(lockfile.packages).filter(([place]) => place !== "");

/** The packages that are installed with `--omit=dev`. */
export const production = locked.filter(([, pack]) => pack.dev !== true);

export const nameAt = (place: string) =>
  place.slice(place.lastIndexOf("node_modules/") + "node_modules/".length);

/** Whether Node, asked for `name` from the package at `place`, finds one in the tree. */
export const finds = (place: string, name: string): boolean => {
  for (let folder = place; ; folder = folder.slice(0, Math.max(folder.lastIndexOf("/node_modules/"), 0))) {
    if (`${folder === "" ? "" : `${folder}/`}node_modules/${name}` in lockfile.packages) return true;
    if (folder === "") return false;
  }
};

/** Whether version `a` is at least `b`; pre-releases are not looked at. */
export const atLeast = (a: string, b: string): boolean => {
  const [left, right] = [a, b].map((version) => version.split(/[.-]/).map(Number)) as [number[], number[]];
  for (const [index, wanted] of right.entries()) {
    const got = left[index] ?? 0;
    if (got !== wanted) return got > wanted;
  }
  return true;
};
