/**
 * Adds to `package-lock.json` the packages for other platforms that the registry at hand does not offer.
 *
 * Many packages bring their native code in optional packages, one a platform. A registry that mirrors only some of them
 * makes `npm install` leave the others out of the lock, and `npm ci` then refuses the lock as incomplete. With an entry
 * for each, as npm itself writes it where the registry is whole, both work everywhere.
 *
 * `node scripts/complete-lock.ts` after adding a dependency; with `--check` it only says whether that is needed.
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

interface LockedPackage {
  readonly version?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

export type LockedPackages = Readonly<Record<string, LockedPackage>>;

const SYSTEMS = ["android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "aix", "win32"];
const PROCESSORS = ["x64", "arm64", "arm", "ia32", "s390x", "ppc64", "riscv64", "loong64", "mips64el", "wasm32"];

/** Entries for all packages of single platforms that others name and the lock lacks, by their place. */
export function missingPlatformPackages(packages: LockedPackages): Record<string, LockedPackage> {
  const missing: Record<string, LockedPackage> = {};
  for (const [place, { optionalDependencies = {}, dev, license }] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      const ownPlace = `node_modules/${name}`;
      if (packages[ownPlace] !== undefined || packages[`${place}/${ownPlace}`] !== undefined) continue;
      const platform = platformOf(name);
      if (platform === undefined || !/^\d/.test(version)) continue;
      const fields = { ...(dev && { dev }), ...(license && { license }), optional: true, ...platform };
      // In npm's own order of fields, so that npm does not write them anew.
      missing[ownPlace] = { version, ...Object.fromEntries(Object.entries(fields).toSorted(byName)) };
    }
  }
  return missing;
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

/** `@oxlint/binding-linux-arm64-musl` is for linux, arm64 and musl. */
function platformOf(name: string): Pick<LockedPackage, "os" | "cpu" | "libc"> | undefined {
  const parts = path.posix.basename(name).split("-");
  const os = parts.find((part) => SYSTEMS.includes(part));
  const cpu = parts.find((part) => PROCESSORS.includes(part));
  if (os === undefined || cpu === undefined) return undefined;
  const libc = { gnu: "glibc", musl: "musl" }[parts.at(-1)?.replace(/eabi(hf)?$/, "") ?? ""];
  return { os: [os], cpu: [cpu], ...(libc !== undefined && os === "linux" && { libc: [libc] }) };
}

if (import.meta.main) {
  const file = path.join(import.meta.dirname, "../package-lock.json");
  const lock = JSON.parse(readFileSync(file, "utf8")) as { packages: LockedPackages };
  const missing = missingPlatformPackages(lock.packages);
  const names = Object.keys(missing);
  if (names.length > 0 && process.argv.includes("--check")) {
    process.stderr.write(`package-lock.json lacks ${names.join(", ")}: run "npm run complete-lock"\n`);
    process.exitCode = 1;
  } else if (names.length > 0) {
    const entries = Object.entries({ ...lock.packages, ...missing }).toSorted(([a], [b]) => a.localeCompare(b, "en"));
    writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(entries) }, undefined, 2)}\n`);
  }
}
