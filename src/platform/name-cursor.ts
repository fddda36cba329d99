import type { RawPath } from "./raw-path.ts";
import type { SpillFile } from "./spill-file.ts";

/** Names of a folder, ascending by bytes, no name twice; given one after another. */
export interface NameCursor {
  /** The name that comes next; undefined at the end. */
  readonly next: RawPath | undefined;
  /** Goes on to the one after. */
  advance(): void;
}

/** Of names that are sorted already. */
export function cursorOf(names: readonly RawPath[]): NameCursor {
  let at = 0;
  return {
    get next() {
      return names[at];
    },
    advance: () => void at++,
  };
}

/** All names of several cursors. */
export function mergeCursors(cursors: readonly NameCursor[]): NameCursor {
  /** A binary heap: the first has the lowest name, and each no higher one than the two at twice its place. */
  const heap = cursors.filter((cursor) => cursor.next !== undefined);
  for (let place = (heap.length >>> 1) - 1; place >= 0; place--) sink(place);

  function sink(from: number): void {
    const moved = heap[from];
    let place = from;
    for (;;) {
      let below = place * 2 + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1], heap[below])) below++;
      if (!isBefore(heap[below], moved)) break;
      heap[place] = heap[below];
      place = below;
    }
    heap[place] = moved;
  }

  return {
    get next() {
      return heap[0]?.next;
    },
    advance() {
      const name = heap[0]?.next;
      while (heap.length > 0 && heap[0].next === name) {
        heap[0].advance();
        const last = heap[0].next === undefined ? heap.pop() : undefined;
        if (last !== undefined && heap.length > 0) heap[0] = last;
        if (heap.length > 0) sink(0);
      }
    },
  };
}

function isBefore(one: NameCursor, other: NameCursor): boolean {
  return one.next !== undefined && other.next !== undefined && one.next < other.next;
}

const LENGTH_BYTES = 2;
const WINDOW_BYTES = 16 * 1024;

/** Puts sorted names away, and gives the cursor that reads them back. */
export function spillNames(file: SpillFile, names: readonly RawPath[]): NameCursor {
  const bytes = Buffer.allocUnsafeSlow(names.reduce((sum, name) => sum + LENGTH_BYTES + name.length, 0));
  let end = 0;
  for (const name of names) {
    bytes.writeUInt16LE(name.length, end);
    bytes.latin1Write(name, end + LENGTH_BYTES);
    end += LENGTH_BYTES + name.length;
  }
  return readNames(file, file.append(bytes), end);
}

function readNames(file: SpillFile, start: number, lengthBytes: number): NameCursor {
  const end = start + lengthBytes;
  let window = Buffer.alloc(0);
  let windowAt = start;
  let at = start;
  let next: RawPath | undefined;
  advance();

  /** Where in the window that many bytes from `at` on stand. */
  function need(bytes: number): number {
    if (at + bytes > windowAt + window.length) {
      const buffer = Buffer.allocUnsafeSlow(Math.min(WINDOW_BYTES, end - at));
      window = buffer.subarray(0, file.read(at, buffer));
      windowAt = at;
      if (window.length < bytes) throw new Error("a temporary file does not hold what was written to it");
    }
    return at - windowAt;
  }

  function advance(): void {
    if (at >= end) {
      next = undefined;
      window = Buffer.alloc(0);
      return;
    }
    // In this order: what is needed may bring another window.
    const lengthAt = need(LENGTH_BYTES);
    const length = window.readUInt16LE(lengthAt);
    const from = need(LENGTH_BYTES + length) + LENGTH_BYTES;
    next = window.latin1Slice(from, from + length) as RawPath;
    at += LENGTH_BYTES + length;
  }

  return {
    get next() {
      return next;
    },
    advance,
  };
}
