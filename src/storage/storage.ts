/**
 * PORT: where a repository's objects lie. Flat, immutable, named objects; no folders, no append, no rename.
 *
 * Names are made of `a-z0-9`, `.`, `-`, `_` and `/`, at most 200 characters; no part of a name is empty or starts with a
 * dot, and the first part is not `tmp`. Any other name is refused with `StorageError`. No object may be named as the
 * "folder" of another (`a` beside `a/b`).
 * Every implementation passes `storage.conformance.ts`. A good one to read first: `local.ts`.
 *
 * All calls may run at the same time, from any number of processes. Errors: `ObjectMissingError` where an object is not
 * there; `DamagedError` where it is shorter than it should be; `StorageError` for everything else that storage does to
 * us (full, read-only, unreachable, I/O), with the object's name and, in `hint`, what to do.
 */
export interface Storage {
  /** For people: the place, as the user wrote it, without secrets. */
  readonly location: string;

  /** True where somebody else keeps the repository in order: those who only save then delete and merge nothing. */
  readonly isTendedElsewhere?: boolean;

  /** How many large puts at once fill the way there: more than one where an answer takes long. Undefined for one. */
  readonly putsAtOnce?: number;

  /**
   * The path under which an object lies as a file of this machine, which any thread may read as fast as it likes.
   * Undefined where objects are no files, or are to be read through `get` alone. Throws as `get` does; but that it gives
   * a path does not mean that there is such an object.
   */
  readonly fileOf?: (name: string) => Promise<string>;

  /**
   * Stores an object whole, or not at all. When it resolves, the object survives a power cut, and every reader sees it
   * at its full length. An existing object of that name is never changed: then the call resolves to false, and that
   * existing object survives a power cut. When it rejects, the object may be there or not, but never in part. Where a
   * connection broke meanwhile, the object that is "there already" may have been stored by this very call.
   */
  put(name: string, content: readonly Uint8Array[]): Promise<boolean>;

  /** Reads an object, or `range` of it. A range that reaches beyond the end is an error (`DamagedError`). */
  get(name: string, range?: ByteRange): Promise<Uint8Array>;

  /**
   * Every object whose name starts with `prefix`, which ends in "/" or is empty; each once, in no set order. One that
   * is stored or deleted meanwhile may be among them or not. Names that break the rules above are left out.
   */
  list(prefix: string): AsyncIterable<StoredObject>;

  /** What is known of an object, or undefined where there is none. */
  stat(name: string): Promise<StoredObject | undefined>;

  /**
   * Removes an object. One that is not there is no error: deletion may be repeated. When it resolves, the object does
   * not come back after a power cut, so a deletion may rest on one before it. Many at once are far cheaper than many
   * one after another.
   */
  delete(name: string): Promise<void>;

  /** Lets go of connections and descriptors. Using the storage afterwards is an error. */
  close(): Promise<void>;
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface StoredObject {
  readonly name: string;
  readonly sizeBytes: number;
  /** When it was stored, by the storage's own clock, in ms since 1970. */
  readonly modifiedMs: number;
}
