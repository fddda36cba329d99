/**
 * File names as bytes.
 *
 * Linux names are bytes, not text. A `RawPath` holds them one byte a character (U+0000 to U+00FF, "latin1"): compact in
 * V8, usable as a map key, and `<` orders it by bytes. It is never shown to a person as it is; see `displayPath`.
 */
export type RawPath = string & { readonly __rawPath: true };

export function rawPathFromBytes(bytes: Uint8Array): RawPath {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).latin1Slice() as RawPath;
}

export function rawPathToBytes(path: RawPath): Buffer {
  return Buffer.from(path, "latin1");
}

/** From ordinary text, such as a command's argument, encoded as UTF-8. */
export function rawPathFromText(text: string): RawPath {
  return Buffer.from(text, "utf8").latin1Slice() as RawPath;
}

/** As text, if the bytes are valid UTF-8; otherwise undefined. */
export function rawPathToText(path: RawPath): string | undefined {
  const bytes = Buffer.from(path, "latin1");
  const text = bytes.utf8Slice();
  return text.includes("\ufffd") && !Buffer.from(text, "utf8").equals(bytes) ? undefined : text;
}

/**
 * For people: UTF-8 where it is, with control characters, backslashes and bytes that are not UTF-8 escaped
 * (`\n`, `\\`, `\xff`), so that a name can neither break a line nor drive a terminal.
 */
export function displayPath(path: RawPath): string {
  const text = Buffer.from(path, "latin1").utf8Slice();
  // The common case: plain, valid text without anything to escape.
  if (!/[\u0000-\u001f\u007f-\u009f\\\ufffd\u202a-\u202e\u2066-\u2069]/u.test(text)) return text;
  return escapeBytes(Buffer.from(path, "latin1"));
}

function escapeBytes(bytes: Buffer): string {
  let out = "";
  for (let at = 0; at < bytes.length;) {
    const length = utf8SequenceLength(bytes, at);
    const char = length === 0 ? "" : bytes.utf8Slice(at, at + length);
    if (length === 0 || /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/u.test(char)) {
      const end = at + Math.max(length, 1);
      for (; at < end; at++) out += ESCAPES.get(bytes[at]) ?? `\\x${bytes[at].toString(16).padStart(2, "0")}`;
    } else {
      out += char === "\\" ? "\\\\" : char;
      at += length;
    }
  }
  return out;
}

const ESCAPES = new Map([
  [0x09, "\\t"],
  [0x0a, "\\n"],
  [0x0d, "\\r"],
  [0x1b, "\\e"],
]);

/** Length of the valid UTF-8 sequence at `at`, or 0. */
function utf8SequenceLength(bytes: Buffer, at: number): number {
  const lead = bytes[at];
  const length =
    lead < 0x80
      ? 1
      : lead >= 0xc2 && lead < 0xe0
        ? 2
        : lead >= 0xe0 && lead < 0xf0
          ? 3
          : lead >= 0xf0 && lead < 0xf5
            ? 4
            : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  const text = bytes.utf8Slice(at, at + length);
  return text.includes("\ufffd") && !Buffer.from(text, "utf8").equals(bytes.subarray(at, at + length)) ? 0 : length;
}

/** Joins a folder and a name; an empty folder is the top. */
export function joinRaw(folder: RawPath, name: RawPath): RawPath {
  if (folder === "") return name;
  return (folder.endsWith("/") ? folder + name : `${folder}/${name}`) as RawPath;
}
