import { lstatSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** What a package brings with it when it is installed alone in a folder. */
export interface InstallSize {
  direct: string[];
  /** All that was installed, without the package itself. */
  packages: number;
  files: number;
  bytes: number;
  /** In whole blocks, as the disk holds it. */
  diskBytes: number;
}

interface Manifest {
  dependencies?: Record<string, string>;
}

/** Reads a folder into which one package, or several that make one whole, were installed. */
export function readInstall(folder: string): InstallSize {
  const modules = join(folder, "node_modules");
  const roots = namesOf(readManifest(folder));
  const [root = ""] = roots;
  const isOne = roots.length === 1;
  const { packages } = JSON.parse(readFileSync(join(modules, ".package-lock.json"), "utf8")) as {
    packages: Record<string, unknown>;
  };
  return {
    direct: isOne ? namesOf(readManifest(join(modules, root))) : roots,
    packages: Object.keys(packages).length - (isOne ? 1 : 0),
    ...measureFolder(modules),
  };
}

/** Files below a folder; links are not followed, and folders named in `without` are left out. */
export function measureFolder(
  folder: string,
  without: readonly string[] = [],
): Omit<InstallSize, "direct" | "packages"> {
  const sum = { files: 0, bytes: 0, diskBytes: 0 };
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (without.includes(entry.name)) continue;
      const inner = measureFolder(path, without);
      sum.files += inner.files;
      sum.bytes += inner.bytes;
      sum.diskBytes += inner.diskBytes;
    } else if (entry.isFile()) {
      const { size, blocks } = lstatSync(path);
      sum.files += 1;
      sum.bytes += size;
      sum.diskBytes += blocks * 512;
    }
  }
  return sum;
}

export function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
}

export function namesOf({ dependencies = {} }: Manifest): string[] {
  return Object.keys(dependencies);
}
