/**
 * Checks that imports in `src/` run downwards only, as the list of folders says; ends with 1 and names those that do not.
 *
 * Run it as `node scripts/check-imports.ts`. Tests, conformance suites and what lies in
 * `testing/` may import what they like.
 */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";

const LOWEST = ["storage", "crypto", "platform", "retention", "wire"];
const ENGINE = ["repository", "source", "format", ...LOWEST];

/** For each folder of `src/`, the folders it may import. A folder may always import itself and `src/errors.ts`. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  platform: [],
  crypto: ["platform"],
  storage: ["platform"],
  retention: [],
  wire: [],
  format: ["storage", "crypto", "platform"],
  repository: ["format", ...LOWEST],
  source: ["format", "platform", "wire"],
  // A snapshot can be a source: for copies and repairs.
  backup: ["browse", ...ENGINE],
  // Doors that speak rsync share the protocol with the source that does.
  browse: ["repository", "source", "format", "crypto", "platform"],
  // Restore stands on the snapshot view, which is browse's port, and reads whole frames where that is faster.
  restore: ["browse", ...ENGINE],
  fleet: ["restore", "browse", "backup", ...ENGINE],
  agent: ["fleet", "restore", "browse", "backup", ...ENGINE],
  server: ["fleet", "restore", "browse", "backup", ...ENGINE],
  cli: ["server", "agent", "fleet", "restore", "browse", "backup", ...ENGINE],
};

/** Folders of pure functions, which touch neither files nor databases nor the network. */
const PURE_FOLDERS = ["wire", "retention"];
const IMPURE_MODULES =
  /^(node:)?(fs|sqlite|child_process|net|tls|http|https|http2|dgram|worker_threads)(\/|$)|^(kysely|pg)$/;

export interface SourceFile {
  /** From the top of the checkout, with `/`. */
  readonly path: string;
  readonly text: string;
}

/** One sentence for each import that goes where it must not. */
export function findViolations(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => !/\.(test|conformance)\.ts$|\/testing\//.test(file.path))
    .flatMap((file) => importedModules(file.text).flatMap((module) => violation(file.path, module) ?? []));
}

function violation(importer: string, module: string): string | undefined {
  const folder = folderOf(importer);
  if (!module.startsWith(".")) {
    if (!PURE_FOLDERS.includes(folder) || !IMPURE_MODULES.test(module)) return undefined;
    return `${importer} imports ${module}, but ${folder} holds pure functions only`;
  }
  const target = path.posix.join(path.posix.dirname(importer), module);
  if (target === "package.json") return undefined;
  if (!target.startsWith("src/")) return `${importer} imports ${target}, which is not part of the program`;
  const targetFolder = folderOf(target);
  if (targetFolder === folder || target === "src/errors.ts") return undefined;
  const allowed = MAY_IMPORT[folder];
  if (allowed === undefined) return `${importer} lies in a folder that scripts/check-imports.ts does not know`;
  if (allowed.includes(targetFolder)) return undefined;
  return `${importer} imports ${target}, but ${folder} may only import ${allowed.join(", ") || "itself"}`;
}

/** First folder below `src/`; empty for a file that lies in `src/` itself. */
function folderOf(file: string): string {
  const [, folder, rest] = file.split("/");
  return rest === undefined ? "" : folder;
}

/** What a module imports, re-exports, loads when it runs, or names as the file of a worker. */
function importedModules(text: string): string[] {
  const patterns = [
    /^\s*(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']/gm,
    /^\s*import\s*["']([^"']+)["']/gm,
    /\bimport\(\s*["']([^"']+)["']/g,
    /\bnew URL\(\s*["'](\.[^"']+)["']\s*,\s*import\.meta\.url/g,
  ];
  return patterns.flatMap((pattern) => Array.from(text.matchAll(pattern), (match) => match[1]));
}

if (import.meta.main) {
  const files = globSync("src/**/*.ts", { exclude: ["src/backup/chunker/assembly/**"] }).map((file) => ({
    path: file,
    text: readFileSync(file, "utf8"),
  }));
  const violations = findViolations(files);
  for (const line of violations) process.stderr.write(`${line}\n`);
  if (violations.length > 0) process.exitCode = 1;
}
