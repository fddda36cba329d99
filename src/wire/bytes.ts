/**
 * Integers, byte strings and texts of messages (docs/protocol.md, "Conventions"). A reader holds every length against the
 * bytes that are there; what does not fit is a `ProtocolError`.
 */
import { ProtocolError } from "../errors.ts";

export interface WireReader {
  readonly bytes: Buffer;
  at: number;
}

export function wireReader(bytes: Uint8Array): WireReader {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { bytes: buffer, at: 0 };
}

export function malformed(problem: string): ProtocolError {
  return new ProtocolError(`the other side sent a malformed message: ${problem}`, {
    hint: "are both sides Holdfast, and of versions that go together?",
  });
}

/** A view of the next `length` bytes. */
export function takeRaw(input: WireReader, length: number): Buffer {
  if (length > input.bytes.length - input.at) throw malformed(`${length} bytes were announced, and are not there`);
  input.at += length;
  return input.bytes.subarray(input.at - length, input.at);
}

export function takeU8(input: WireReader): number {
  return takeRaw(input, 1)[0];
}

/** A varint in its shortest form, at most `maximum`. */
export function takeVarint(input: WireReader, maximum = Number.MAX_SAFE_INTEGER): number {
  const start = input.at;
  let value = 0;
  let scale = 1;
  while (input.at < input.bytes.length && input.at < start + 8) {
    const byte = input.bytes[input.at++];
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      if (byte === 0 && input.at > start + 1) throw malformed("a number is not in its shortest form");
      if (value > maximum) throw malformed(`${value} is more than ${maximum}`);
      return value;
    }
    scale *= 128;
  }
  throw malformed("a number is cut off or too long");
}

export function takeText(input: WireReader, maximumBytes: number): string {
  const bytes = takeRaw(input, takeVarint(input, maximumBytes));
  const text = bytes.toString("utf8");
  if (text.includes("\ufffd") && !Buffer.from(text, "utf8").equals(bytes)) throw malformed("a text is not UTF-8");
  return text;
}

export function expectNoMore(input: WireReader): void {
  if (input.at !== input.bytes.length) throw malformed(`${input.bytes.length - input.at} bytes too many`);
}

/** The bytes of a varint; `value` is a whole number below 2^53. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

export function wireText(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([varint(bytes.length), bytes]);
}
