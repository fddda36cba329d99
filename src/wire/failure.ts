/** Errors as they go over the wire: code, message and hint, and back into the classes of `errors.ts`. */
import {
  BusyError,
  ConnectionError,
  DamagedError,
  HoldfastError,
  LockedError,
  NewerFormatError,
  NoRepositoryError,
  ObjectMissingError,
  ProtocolError,
  RefusedError,
  StorageError,
  UsageError,
  WriteOnlyError,
} from "../errors.ts";
import type { ErrorDetails } from "../errors.ts";
import { expectNoMore, takeText, wireText } from "./bytes.ts";
import type { WireReader } from "./bytes.ts";

export interface Failure {
  /** `code` of the error's class. */
  readonly code: string;
  readonly message: string;
  /** Empty where there is none. */
  readonly hint: string;
}

const CLASSES: Readonly<Record<string, new (message: string, details?: ErrorDetails) => HoldfastError>> = {
  usage: UsageError,
  "no-repository": NoRepositoryError,
  locked: LockedError,
  damaged: DamagedError,
  "newer-format": NewerFormatError,
  "object-missing": ObjectMissingError,
  storage: StorageError,
  "write-only": WriteOnlyError,
  refused: RefusedError,
  busy: BusyError,
  connection: ConnectionError,
  protocol: ProtocolError,
};

const MAXIMUM_CODE_BYTES = 64;
const MAXIMUM_TEXT_BYTES = 8 * 1024;

/** What the other side may be told. Of a fault of our own it learns only that there was one. */
export function failureOf(error: unknown): Failure {
  if (!(error instanceof HoldfastError)) {
    return { code: "failure", message: "the server has made a mistake; its log tells more", hint: "" };
  }
  return { code: error.code, message: cut(error.message), hint: cut(error.hint ?? "") };
}

function cut(text: string): string {
  // In UTF-8 a character takes three bytes at most for each unit of its length here.
  return text.slice(0, MAXIMUM_TEXT_BYTES / 4);
}

/** The failure as an error, for whoever made the request. Control characters, which could drive a terminal, are gone. */
export function errorOf({ code, message, hint }: Failure): HoldfastError {
  const Class = Object.hasOwn(CLASSES, code) ? CLASSES[code] : HoldfastError;
  return new Class(printable(message), hint === "" ? {} : { hint: printable(hint) });
}

function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, "?");
}

export function encodeFailure({ code, message, hint }: Failure): Buffer {
  return Buffer.concat([wireText(code), wireText(message), wireText(hint)]);
}

export function decodeFailure(input: WireReader): Failure {
  const code = takeText(input, MAXIMUM_CODE_BYTES);
  const message = takeText(input, MAXIMUM_TEXT_BYTES);
  const hint = takeText(input, MAXIMUM_TEXT_BYTES);
  expectNoMore(input);
  return { code, message, hint };
}
