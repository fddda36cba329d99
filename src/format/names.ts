/** Names of the objects in a repository's storage (docs/format.md, "Objects"). */
import { packObjectName, parsePackObjectName } from "./pack.ts";

export const CONFIG_NAME = "config";

/** Folders of objects, as prefixes to list. */
export const PREFIXES = {
  key: "keys/",
  pack: "packs/",
  index: "index/",
  snapshot: "snapshots/",
  condemned: "condemned/",
  running: "running/",
} as const;

/** What an object is, and its id in hex: of most the SHA-256 of its bytes. */
export interface ObjectName {
  readonly kind: "config" | keyof typeof PREFIXES;
  /** Empty for `config`. */
  readonly id: string;
}

/** The object of an id. */
export function objectName(kind: keyof typeof PREFIXES, id: string): string {
  return kind === "pack" ? packObjectName(id) : PREFIXES[kind] + id;
}

/** Undefined for names that are none of a repository's, such as left-over temporary files: readers ignore them. */
export function parseObjectName(name: string): ObjectName | undefined {
  if (name === CONFIG_NAME) return { kind: "config", id: "" };
  const pack = parsePackObjectName(name);
  if (pack !== undefined) return { kind: "pack", id: pack };
  const match = /^(keys|index|snapshots|condemned|running)\/([0-9a-f]{32}|[0-9a-f]{64})$/.exec(name);
  if (match === null) return undefined;
  const [, folder, id] = match;
  const short = id.length === 32;
  switch (folder) {
    case "keys":
      return short ? { kind: "key", id } : undefined;
    case "running":
      return short ? { kind: "running", id } : undefined;
    case "index":
      return short ? undefined : { kind: "index", id };
    case "snapshots":
      return short ? undefined : { kind: "snapshot", id };
    default:
      return short ? undefined : { kind: "condemned", id };
  }
}

/** Ids of runs: all notes of one run have names that begin with it. */
export const RUN_ID = /^[0-9a-f]{16}$/;

/** Which run a note under `running/` is of. */
export function runOfNote(name: string): string {
  return name.slice(PREFIXES.running.length, PREFIXES.running.length + 16);
}
