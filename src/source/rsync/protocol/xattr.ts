import type { RawPath } from "../../../platform/raw-path.ts";
import type { ByteOutput } from "./byte-output.ts";
import { ATTRIBUTE_SUM_BYTES, attributeSum } from "./checksums.ts";
import type { Cursor } from "./cursor.ts";
import { RsyncProtocolError } from "./rsync-error.ts";

/** A value longer than this does not travel with the list: only its length and sum do (xattrs.c, MAX_FULL_DATUM). */
export const LONGEST_LISTED_VALUE_BYTES = 32;

/** As the kernel bounds them, with room for other systems. */
const MOST_ATTRIBUTES = 4096;
const LONGEST_NAME_BYTES = 1024;
const LONGEST_VALUE_BYTES = 16 * 1024 * 1024;
/** For all names and values of a session's list together, with what it takes to hold them. */
const MOST_CACHED_BYTES = 512 * 1024 * 1024;
const SET_BYTES = 64;
const ATTRIBUTE_BYTES = 256;

export interface WireAttribute {
  readonly name: RawPath;
  readonly lengthBytes: number;
  /** The whole value, or the MD5 sum of a long one. */
  readonly listed: Buffer;
  /** The place of the attribute in the sender's order, from 1. */
  readonly number: number;
}

export const isAbbreviated = (attribute: WireAttribute): boolean => attribute.lengthBytes > LONGEST_LISTED_VALUE_BYTES;

/** Whether a value is the one that a list tells of, as far as it tells. */
export function isValueOf(value: Uint8Array, attribute: WireAttribute): boolean {
  if (value.length !== attribute.lengthBytes) return false;
  return attribute.listed.equals(isAbbreviated(attribute) ? attributeSum(value) : value);
}

/** The sets of attributes of a session: each is sent once, and then only named. */
export class AttributeSets {
  readonly sets: (readonly WireAttribute[])[] = [];
  #bytes = 0;

  add(set: readonly WireAttribute[]): number {
    this.#bytes += SET_BYTES;
    for (const { name, listed } of set) this.#bytes += name.length + listed.length + ATTRIBUTE_BYTES;
    if (this.#bytes > MOST_CACHED_BYTES) {
      throw new RsyncProtocolError("the other side lists too many different sets of extended attributes");
    }
    return this.sets.push(set) - 1;
  }
}

/** A set of attributes, or the number (from 0) of one that was sent before; `known` is how many there were. */
export function readAttributes(from: Cursor, known: number): readonly WireAttribute[] | number {
  const index = from.varint();
  if (index < 0 || index > known) {
    throw new RsyncProtocolError(`rsync protocol: there is no set of extended attributes ${index - 1}`);
  }
  if (index > 0) return index - 1;
  const count = from.boundedVarint(MOST_ATTRIBUTES, "the number of extended attributes");
  const set: WireAttribute[] = [];
  for (let number = 1; number <= count; number++) {
    const nameLength = from.boundedVarint(LONGEST_NAME_BYTES, "the length of an attribute's name");
    const lengthBytes = from.boundedVarint(LONGEST_VALUE_BYTES, "the length of an attribute's value");
    const name = from.view(nameLength);
    if (nameLength < 2 || name.indexOf(0) !== nameLength - 1) {
      throw new RsyncProtocolError("rsync protocol: an attribute's name is empty or does not end where it should");
    }
    const text = name.latin1Slice(0, nameLength - 1) as RawPath;
    const listed = from.copy(lengthBytes > LONGEST_LISTED_VALUE_BYTES ? ATTRIBUTE_SUM_BYTES : lengthBytes);
    set.push({ name: text, lengthBytes, listed, number });
  }
  return set;
}

export function writeAttributes(to: ByteOutput, set: readonly WireAttribute[] | number): void {
  if (typeof set === "number") return to.varint(set + 1);
  to.varint(0);
  to.varint(set.length);
  for (const attribute of set) {
    to.varint(attribute.name.length + 1);
    to.varint(attribute.lengthBytes);
    to.raw(Buffer.from(`${attribute.name}\0`, "latin1"));
    to.raw(attribute.listed);
  }
}

/** Asks for the values of these attributes of one set. */
export function writeAttributeRequest(to: ByteOutput, attributes: readonly WireAttribute[]): void {
  let previous = 0;
  for (const attribute of attributes) {
    to.varint(attribute.number - previous);
    previous = attribute.number;
  }
  to.byte(0);
}

/** The numbers that are asked for. */
export function readAttributeRequest(from: Cursor, set: readonly WireAttribute[]): WireAttribute[] {
  const asked: WireAttribute[] = [];
  for (let number = 0; ;) {
    const step = from.varint();
    if (step === 0) return asked;
    number += step;
    asked.push(askedAttribute(set, number));
    if (asked.length > set.length) throw new RsyncProtocolError("rsync protocol: an attribute is asked for twice");
  }
}

/** Answers a request: number, length and value of each. */
export function writeAttributeValues(
  to: ByteOutput,
  values: readonly { readonly attribute: WireAttribute; readonly value: Uint8Array }[],
): void {
  let previous = 0;
  for (const { attribute, value } of values) {
    to.varint(attribute.number - previous);
    previous = attribute.number;
    to.varint(value.length);
    to.raw(value);
  }
  to.byte(0);
}

/** One value of an answer, or undefined at its end; `previous` is the number of the one before. */
export function readAttributeValue(
  from: Cursor,
  set: readonly WireAttribute[],
  previous: number,
): { readonly attribute: WireAttribute; readonly value: Buffer } | undefined {
  const step = from.varint();
  if (step === 0) return undefined;
  const attribute = askedAttribute(set, previous + step);
  const length = from.boundedVarint(LONGEST_ANSWERED_VALUE_BYTES, "the length of an attribute's value");
  return { attribute, value: from.copy(length) };
}

/** What fits into one unit of decoding. */
const LONGEST_ANSWERED_VALUE_BYTES = 4 * 1024 * 1024;

function askedAttribute(set: readonly WireAttribute[], number: number): WireAttribute {
  const attribute = set.find((each) => each.number === number);
  if (attribute === undefined || !isAbbreviated(attribute)) {
    throw new RsyncProtocolError(`rsync protocol: there is no long attribute ${number}`);
  }
  return attribute;
}
