import { DamagedError, ObjectMissingError, StorageError } from "../errors.ts";
import type { ByteRange } from "./storage.ts";

const OBJECT_NAME = /^(?!tmp(?:\/|$))[a-z0-9_-][a-z0-9._-]*(?:\/[a-z0-9_-][a-z0-9._-]*)*$/;
const LONGEST_NAME = 200;

/** Whether this is a name that an object may bear: see the port for the rules. */
export function isObjectName(name: string): boolean {
  return name.length <= LONGEST_NAME && OBJECT_NAME.test(name);
}

/** Throws `StorageError` unless this is a name that an object may bear. */
export function checkObjectName(name: string): void {
  if (!isObjectName(name)) throw new StorageError(`${JSON.stringify(name.slice(0, 300))} is not an object name`);
}

/** Throws `StorageError` unless this is empty, or the start of object names up to and with a slash. */
export function checkPrefix(prefix: string): void {
  if (prefix === "") return;
  if (!prefix.endsWith("/")) throw new StorageError(`the prefix ${JSON.stringify(prefix)} does not end in "/"`);
  checkObjectName(prefix.slice(0, -1));
}

/** Throws unless the range lies within an object of this size. Called before memory is allocated for it. */
export function checkRange(name: string, range: ByteRange, sizeBytes: number): void {
  const { offset, length } = range;
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new DamagedError(`${name}: bytes ${offset} + ${length} are no range`);
  }
  if (offset + length > sizeBytes) {
    throw new DamagedError(`${name} is too short: it has ${sizeBytes} bytes, not ${offset + length}`, {
      hint: 'run "holdfast check" to see what it affects',
    });
  }
}

export function objectMissing(name: string, location: string, cause?: unknown): ObjectMissingError {
  return new ObjectMissingError(`${name} is not in ${location}`, {
    hint: 'run "holdfast check" to see what it affects',
    cause,
  });
}
