/** Messages: what a connection carries after its preface (docs/protocol.md, "Messages"). */
import { expectNoMore, malformed, takeVarint, varint, wireReader } from "./bytes.ts";
import { decodeFailure, encodeFailure, type Failure } from "./failure.ts";

export type Message =
  | { readonly kind: "hello"; readonly json: Buffer }
  | {
      readonly kind: "request";
      readonly id: number;
      readonly method: number;
      /** Data and an end follow, whatever the answer is. */
      readonly hasContent: boolean;
      readonly body: Buffer;
    }
  | { readonly kind: "answer"; readonly id: number; readonly body: Buffer }
  | { readonly kind: "data"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly kind: "end"; readonly id: number }
  | { readonly kind: "failure"; readonly id: number; readonly failure: Failure }
  | { readonly kind: "credit"; readonly id: number; readonly bytes: number }
  | { readonly kind: "cancel"; readonly id: number }
  | { readonly kind: "ping" }
  | { readonly kind: "pong" }
  | { readonly kind: "goodbye"; readonly failure: Failure };

/** First bytes of either direction, in every version. The line ending shows a transport that changes them. */
export const PREFACE = Buffer.from("HFWIRE\r\n", "latin1");

/** Of a message without its length field. */
export const MAXIMUM_MESSAGE_BYTES = 5 + 128 * 1024;
/** How much of a stream one message carries at most. */
export const DATA_BYTES = 64 * 1024;
/** How much of a stream may be under way before the receiver has granted more. */
export const INITIAL_CREDIT_BYTES = 4 * 1024 * 1024;

const HEADER_BYTES = 9;
const NUMBERS: Readonly<Record<Message["kind"], number>> = {
  hello: 1,
  request: 2,
  answer: 3,
  data: 4,
  end: 5,
  failure: 6,
  credit: 7,
  cancel: 8,
  ping: 9,
  pong: 10,
  goodbye: 11,
};
const KINDS = new Map(Object.entries(NUMBERS).map(([kind, number]) => [number, kind as Message["kind"]]));

/** The message in pieces to send one after another; the bytes of `data` are not copied. */
export function encodeMessage(message: Message): Uint8Array[] {
  const body = bodyOf(message);
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  const length = 5 + body.reduce((sum, part) => sum + part.length, 0);
  if (length > MAXIMUM_MESSAGE_BYTES) throw new RangeError(`a message of ${length} bytes is too long to send`);
  header.writeUInt32LE(length, 0);
  header[4] = NUMBERS[message.kind];
  header.writeUInt32LE("id" in message ? message.id : 0, 5);
  return [header, ...body];
}

function bodyOf(message: Message): Uint8Array[] {
  switch (message.kind) {
    case "hello":
      return [message.json];
    case "request":
      return [Buffer.from([message.method, message.hasContent ? 1 : 0]), message.body];
    case "answer":
      return [message.body];
    case "data":
      return [message.bytes];
    case "failure":
    case "goodbye":
      return [encodeFailure(message.failure)];
    case "credit":
      return [varint(message.bytes)];
    default:
      return [];
  }
}

/** A message from all its bytes but the length field. Throws `ProtocolError`. */
export function decodeMessage(bytes: Uint8Array): Message {
  const input = wireReader(bytes);
  if (input.bytes.length < 5 || input.bytes.length > MAXIMUM_MESSAGE_BYTES) throw malformed("its length is impossible");
  const kind = KINDS.get(input.bytes[0]);
  if (kind === undefined) throw malformed(`kind ${input.bytes[0]} is unknown`);
  const id = input.bytes.readUInt32LE(1);
  const body = input.bytes.subarray(5);
  input.at = 5;
  switch (kind) {
    case "hello":
      return { kind, json: body };
    case "request":
      if (body.length < 2 || body[1] > 1) throw malformed("a request without its head");
      return { kind, id, method: body[0], hasContent: body[1] === 1, body: body.subarray(2) };
    case "answer":
      return { kind, id, body };
    case "data":
      if (body.length === 0 || body.length > DATA_BYTES) throw malformed(`${body.length} bytes of data at once`);
      return { kind, id, bytes: body };
    case "failure":
      return { kind, id, failure: decodeFailure(input) };
    case "goodbye":
      return { kind, failure: decodeFailure(input) };
    case "credit": {
      const granted = takeVarint(input, 0xffff_ffff);
      expectNoMore(input);
      return { kind, id, bytes: granted };
    }
    case "end":
    case "cancel":
      expectNoMore(input);
      return { kind, id };
    case "ping":
    case "pong":
      expectNoMore(input);
      return { kind };
  }
}

/** Cuts what arrives into messages. Holds at most one message's bytes besides what it was just given. */
export interface MessageDecoder {
  /** The messages that are whole with these bytes; they may be views of `chunk`. Throws `ProtocolError`. */
  feed(chunk: Uint8Array): Message[];
  /** True between messages. */
  atBoundary(): boolean;
}

export function createMessageDecoder(): MessageDecoder {
  let part: "preface" | "length" | "message" = "preface";
  let needed = PREFACE.length;
  // What there is of a part that came in several chunks. Filled in place, so that single bytes cost no more than many.
  let begun: Buffer | undefined;
  let filled = 0;

  function finish(bytes: Buffer): Message | undefined {
    if (part === "message") {
      part = "length";
      needed = 4;
      return decodeMessage(bytes);
    }
    if (part === "preface") {
      checkPreface(bytes);
      part = "length";
      needed = 4;
    } else {
      needed = bytes.readUInt32LE(0);
      if (needed < 5 || needed > MAXIMUM_MESSAGE_BYTES) throw malformed(`it would be ${needed} bytes long`);
      part = "message";
    }
    return undefined;
  }

  return {
    feed(chunk) {
      const { bytes } = wireReader(chunk);
      const messages: Message[] = [];
      let at = 0;
      while (at < bytes.length) {
        const taken = Math.min(needed - filled, bytes.length - at);
        const piece = bytes.subarray(at, at + taken);
        at += taken;
        if (part === "preface") checkPreface(bytes, filled);
        let whole: Buffer | undefined = piece;
        if (begun !== undefined || taken < needed) {
          begun ??= Buffer.allocUnsafeSlow(needed);
          begun.set(piece, filled);
          filled += taken;
          whole = filled === needed ? begun : undefined;
        }
        if (whole === undefined) break;
        begun = undefined;
        filled = 0;
        const message = finish(whole);
        if (message !== undefined) messages.push(message);
      }
      return messages;
    },
    atBoundary: () => part === "length" && filled === 0,
  };
}

function checkPreface(bytes: Buffer, from = 0): void {
  const length = Math.min(PREFACE.length - from, bytes.length);
  if (bytes.subarray(0, length).equals(PREFACE.subarray(from, from + length))) return;
  throw malformed(`it does not begin as Holdfast does, but with ${JSON.stringify(bytes.toString("latin1", 0, 60))}`);
}
