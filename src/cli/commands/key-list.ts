import { PREFIXES } from "../../format/names.ts";
import { listKeyFiles } from "../../repository/repository.ts";
import { displayPath, rawPathFromText } from "../../platform/raw-path.ts";
import type { Invocation } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatTime } from "../output/format-time.ts";
import { formatTable } from "../output/table.ts";
import type { keyListSpec } from "./key.spec.ts";

interface ListedKey {
  readonly id: string;
  readonly current: boolean;
  readonly opensWith: string;
  /** Empty for a key that this password does not open: only then it can be read. */
  readonly label: string;
  readonly createdMs: number;
}

export async function run({ context }: Invocation<typeof keyListSpec.options>): Promise<number> {
  const { output } = context;
  const repository = await openFromSettings(context);
  const keys: ListedKey[] = [];
  for (const { name, modifiedMs } of await listKeyFiles(repository.storage)) {
    const id = name.slice(PREFIXES.key.length);
    const opensWith = describeLock(await repository.storage.get(name));
    const notes = repository.keyNotes?.get(id);
    const createdMs = Date.parse(notes?.created ?? "") || modifiedMs;
    keys.push({ id, current: id === repository.keyId, opensWith, label: notes?.label ?? "", createdMs });
  }
  if (output.json) {
    output.jsonLine(
      keys.map(({ id, current, opensWith, label, createdMs }) => ({
        current,
        id,
        ...userAndHost(label),
        label,
        opensWith,
        created: new Date(createdMs).toISOString(),
      })),
    );
    return 0;
  }
  const columns = [
    { title: "ID", cell: ({ id, current }: ListedKey) => `${current ? "*" : " "}${id.slice(0, 8)}` },
    { title: "Label", cell: ({ label }: ListedKey) => (label === "" ? "-" : displayPath(rawPathFromText(label))) },
    { title: "Opens with", cell: ({ opensWith }: ListedKey) => opensWith },
    { title: "Created", cell: ({ createdMs }: ListedKey) => formatTime(createdMs) },
  ];
  for (const line of formatTable(columns, keys)) output.line(line);
  return 0;
}

/** With restic's names, where the label is what `init` gives it. */
function userAndHost(label: string): { readonly userName?: string; readonly hostName?: string } {
  const match = /^([^@\s]+)@([^@\s]+)$/.exec(label);
  return match === null ? {} : { userName: match[1], hostName: match[2] };
}

/** From the open header of an age file: each line `-> KIND …` is one way to open it (age-encryption.org/v1). */
function describeLock(bytes: Uint8Array): string {
  const head = Buffer.from(bytes.subarray(0, 64 * 1024)).toString("latin1");
  const header = head.slice(0, Math.max(0, head.indexOf("\n---")));
  const kinds = Array.from(header.matchAll(/^-> (\S+)/gm), (match) => match[1]);
  if (kinds.includes("scrypt")) return "password";
  if (kinds.length === 0) return "damaged";
  return kinds.length === 1 ? "age identity" : `any of ${kinds.length} age identities`;
}
