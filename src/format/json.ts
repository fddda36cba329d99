/** Reading JSON from storage: bounded, and with the field named where something is wrong. */
import { asBuffer, damaged } from "./codec.ts";

export interface JsonFields {
  /** The fields as they are, for those that no function here reads. */
  readonly all: Readonly<Record<string, unknown>>;
  text(name: string): string;
  /** An integer from 0 to 2^53 - 1. */
  count(name: string): number;
  boolean(name: string): boolean;
  /** Text of this many hex digits, lower case. */
  hex(name: string, digits: number): string;
  texts(name: string): string[];
  /** An ISO 8601 time in UTC. */
  time(name: string): string;
  /** Bytes in base64. */
  base64(name: string): Buffer;
  /** Object whose values are finite numbers. */
  numbers(name: string): Record<string, number>;
  /** File names: one character a byte. */
  rawTexts(name: string): string[];
  fail(name: string, problem: string): Error;
}

/** Parses one JSON object of at most `maximumBytes`. Throws `DamagedError`, also from the functions of the result. */
export function parseJsonObject(bytes: Uint8Array, what: string, maximumBytes: number): JsonFields {
  if (bytes.length > maximumBytes) throw damaged(what, `${bytes.length} bytes are more than ${maximumBytes}`);
  let all: unknown;
  try {
    all = JSON.parse(asBuffer(bytes).toString("utf8"));
  } catch (cause) {
    throw damaged(what, "it is not JSON", cause);
  }
  if (typeof all !== "object" || all === null || Array.isArray(all)) throw damaged(what, "it is not a JSON object");
  return fieldsOf(all as Record<string, unknown>, what);
}

function fieldsOf(all: Record<string, unknown>, what: string): JsonFields {
  const fail = (name: string, problem: string) => damaged(what, `"${name}" ${problem}`);
  const own = (name: string): unknown => (Object.hasOwn(all, name) ? all[name] : undefined);
  const text = (name: string): string => {
    const value = own(name);
    if (typeof value !== "string") throw fail(name, "is not text");
    return value;
  };
  const texts = (name: string): string[] => {
    const value = own(name);
    if (!Array.isArray(value) || !value.every((item) => typeof item === "string"))
      throw fail(name, "is not a list of texts");
    return value;
  };
  return {
    all,
    fail,
    text,
    texts,
    count(name) {
      const value = own(name);
      if (!Number.isSafeInteger(value) || (value as number) < 0) throw fail(name, "is not a whole number");
      return value as number;
    },
    boolean(name) {
      const value = own(name);
      if (typeof value !== "boolean") throw fail(name, "is neither true nor false");
      return value;
    },
    hex(name, digits) {
      const value = text(name);
      if (value.length !== digits || !/^[0-9a-f]*$/.test(value)) throw fail(name, `is not ${digits} hex digits`);
      return value;
    },
    time(name) {
      const value = text(name);
      if (!isTime(value)) throw fail(name, "is not a time");
      return value;
    },
    base64(name) {
      const value = text(name);
      const decoded = Buffer.from(value, "base64");
      if (decoded.toString("base64") !== value) throw fail(name, "is not base64");
      return decoded;
    },
    numbers(name) {
      const value = own(name);
      const good =
        typeof value === "object" &&
        value !== null &&
        !Array.isArray(value) &&
        Object.values(value).every((item) => Number.isFinite(item));
      if (!good) throw fail(name, "is not a list of named numbers");
      return value as Record<string, number>;
    },
    rawTexts(name) {
      const value = texts(name);
      if (!value.every((item) => /^[\u0001-\u00ff]*$/.test(item))) throw fail(name, "has characters that are no bytes");
      return value;
    },
  };
}

/** Whether text is a time as `Date.toISOString` writes it. */
function isTime(text: string): boolean {
  return /^[+-]?\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/.test(text) && !Number.isNaN(Date.parse(text));
}
