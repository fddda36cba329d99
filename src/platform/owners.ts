/**
 * Names and numbers of users and groups, as this host knows them by all its name services (files, LDAP, …). Answers are
 * kept for the life of the thread. Each is undefined, or empty for names, where the host knows none.
 */
import { allocateNative, lazy, libcFunction, nameAddress, type NativeMemory, textAtAddress } from "./libc.ts";
import { rawPathFromText } from "./raw-path.ts";
import { ERRNO } from "./system-error.ts";

/** "" if it has none. */
export function userNameOf(uid: number): string {
  return remembered(userNames, uid, () => findByNumber(getpwuid(), uid)?.name ?? "");
}

export function groupNameOf(gid: number): string {
  return remembered(groupNames, gid, () => findByNumber(getgrgid(), gid)?.name ?? "");
}

export function userIdOf(name: string): number | undefined {
  return remembered(userIds, name, () => findByName(getpwnam(), name)?.id);
}

export function groupIdOf(name: string): number | undefined {
  return remembered(groupIds, name, () => findByName(getgrnam(), name)?.id);
}

const userNames = new Map<number, string>();
const groupNames = new Map<number, string>();
const userIds = new Map<string, number | undefined>();
const groupIds = new Map<string, number | undefined>();

function remembered<K, V>(answers: Map<K, V>, key: K, ask: () => V): V {
  const known = answers.get(key);
  if (known !== undefined || answers.has(key)) return known as V;
  const answer = ask();
  answers.set(key, answer);
  return answer;
}

// int f(uid_t | const char *, struct passwd | group *, char *text, size_t, struct **result)
const getpwuid = libcFunction("getpwuid_r", "int", ["uint", "uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t"]);
const getgrgid = libcFunction("getgrgid_r", "int", ["uint", "uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t"]);
const getpwnam = libcFunction("getpwnam_r", "int", ["uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t"]);
const getgrnam = libcFunction("getgrnam_r", "int", ["uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t"]);

/** Both structs begin with: char *name, char *password, u32 id. */
const recordMemory = lazy(() => allocateNative(64));
const resultMemory = lazy(() => allocateNative(8));
const firstText = lazy(() => allocateNative(16 * 1024));

// A group with some ten thousand members; more is a broken name service.
const LARGEST_TEXT_BYTES = 4 * 1024 * 1024;

interface Found {
  readonly name: string;
  readonly id: number;
}

function findByName(search: ReturnType<typeof getpwnam>, name: string): Found | undefined {
  return find((record, text, size, result) =>
    search(nameAddress(rawPathFromText(name), "look up owner"), record, text, size, result),
  );
}

function findByNumber(search: ReturnType<typeof getpwuid>, id: number): Found | undefined {
  return find((record, text, size, result) => search(id, record, text, size, result));
}

function find(search: (record: number, text: number, size: number, result: number) => number): Found | undefined {
  const record = recordMemory();
  const result = resultMemory();
  let text: NativeMemory = firstText();
  for (;;) {
    const errno = search(record.address, text.address, text.bytes.length, result.address);
    if (errno === ERRNO.ERANGE && text.bytes.length < LARGEST_TEXT_BYTES) {
      text = allocateNative(text.bytes.length * 4);
    } else {
      // Name services that cannot be reached give errors of many kinds: all mean that the name is not known now.
      if (errno !== 0 || result.bytes.readBigUInt64LE(0) === 0n) return undefined;
      return { name: textAtAddress(record.bytes.readBigUInt64LE(0)), id: record.words[4] };
    }
  }
}
