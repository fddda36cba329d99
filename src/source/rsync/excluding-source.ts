import type { IsExcluded } from "../local/exclude-patterns.ts";
import { matchableText } from "../local/exclude-patterns.ts";
import type { Source, SourceEntry } from "../source.ts";

export interface Exclusions {
  readonly isExcluded: IsExcluded | undefined;
  readonly largerThanBytes: number;
}

/** Leaves out of a source what patterns name, with all that is below it, and files that are too large. */
export function excludingSource(source: Source, { isExcluded, largerThanBytes }: Exclusions): Source {
  const isLeftOut = ({ path, depth, stat }: SourceEntry): boolean => {
    if (depth === 0) return false;
    if (stat.type === "file" && stat.sizeBytes > largerThanBytes) return true;
    if (isExcluded === undefined) return false;
    const text = path
      .split("/")
      .map((part) => matchableText(part as SourceEntry["name"]))
      .join("/");
    return isExcluded(stat.type === "directory" ? `${text}/` : text);
  };
  return {
    ...source,
    async *entries() {
      let skippedDepth = Number.POSITIVE_INFINITY;
      for await (const batch of source.entries()) {
        yield batch.filter((entry) => {
          if (entry.depth > skippedDepth) return false;
          skippedDepth = Number.POSITIVE_INFINITY;
          if (!isLeftOut(entry)) return true;
          if (entry.stat.type === "directory") skippedDepth = entry.depth;
          return false;
        });
      }
    },
  };
}

/**
 * Rules for the rsync that lists the files, so that it need not even list what is left out. Only for patterns that mean
 * the same, or less, to rsync as to us: the rest is left out when it comes.
 */
export function remoteFilters(patterns: readonly string[]): string[] {
  const meant = patterns.filter((pattern) => pattern.trim() !== "" && !pattern.startsWith("#"));
  if (meant.some((pattern) => pattern.startsWith("!"))) return [];
  return meant.filter(meansTheSame).map((pattern) => `- ${pattern}`);
}

function meansTheSame(pattern: string): boolean {
  return (
    /^[A-Za-z0-9_.,:;@%+=~ /*?-]+$/.test(pattern) &&
    pattern === pattern.trim() &&
    !pattern.includes("**") &&
    !pattern.includes("//") &&
    !/(?:^|\/)\.\.?(?:\/|$)/.test(pattern) &&
    pattern !== "/"
  );
}
