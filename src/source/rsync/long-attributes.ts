import type { ExtendedAttribute, TreeEntry } from "../../format/tree.ts";
import { joinRaw, type RawPath } from "../../platform/raw-path.ts";
import type { ReceivedFileList } from "./protocol/file-list-decoder.ts";
import { isRegular, type FileList } from "./protocol/file-list.ts";
import { indexOfStep, walkInOrder } from "./protocol/file-order.ts";
import type { FileOrder, WalkStep } from "./protocol/file-order.ts";
import type { ReceiverSession } from "./protocol/receiver.ts";
import { isAbbreviated, isValueOf } from "./protocol/xattr.ts";
import type { WireAttribute } from "./protocol/xattr.ts";

/**
 * For a user at the other side, who sees what is asked for: what is known of an entry, by its path in the list, and of how it
 * has changed.
 */
export interface SeenRequests {
  readonly previously: (path: RawPath) => Promise<TreeEntry | undefined>;
  /** `ITEM` bits. */
  readonly changes: (step: WalkStep, before: TreeEntry | undefined) => number;
  /** Whether the content is asked for, and the attributes come with it. */
  readonly isSent: (step: WalkStep, before: TreeEntry | undefined) => boolean;
  readonly onTold: (step: WalkStep) => void;
}

export interface LongAttributesParts {
  readonly received: ReceivedFileList;
  readonly order: FileOrder;
  readonly session: ReceiverSession;
  /** Where the walk begins. */
  readonly top: WalkStep;
  readonly seen: SeenRequests | undefined;
}

/** Where there are more different sets than this, those of files come with their content, if that is asked for. */
const MOST_SETS_FOR_FILES = 20_000;

export function hasLongAttributes({ list, xattrs }: ReceivedFileList, entry: number): boolean {
  const set = list.xattrs.get(entry) - 1;
  return set >= 0 && xattrs.sets[set].some(isAbbreviated);
}

/** Whether there are so many different sets that those of files are not fetched, but come with their content. */
export function comeWithContent({ xattrs }: ReceivedFileList): boolean {
  return countLongSets(xattrs.sets) > MOST_SETS_FOR_FILES;
}

function countLongSets(sets: readonly (readonly WireAttribute[])[]): number {
  return sets.filter((set) => set.some(isAbbreviated)).length;
}

/**
 * Gets long attributes at once: for what is not a file there is no content that they could come with, and they must be
 * there when the entry's turn comes. Mostly a few sets are shared by all. What the last snapshot has is taken from there.
 */
export async function fetchLongAttributes(parts: LongAttributesParts): Promise<void> {
  const { received, order, session, top } = parts;
  const { list, xattrs } = received;
  if (session.isDryRun || countLongSets(xattrs.sets) === 0) return;
  const exceptFiles = comeWithContent(received);
  const done = new Set<number>();
  for (const step of stepsFrom(received, order, top)) {
    if (step.entry < 0 || !hasLongAttributes(received, step.entry)) continue;
    if (exceptFiles && isRegular(list.mode(step.entry))) continue;
    const set = list.xattrs.get(step.entry) - 1;
    if (!done.has(set) && (await isObtained(parts, step, set))) done.add(set);
  }
  await session.answered();
}

function* stepsFrom({ list }: ReceivedFileList, order: FileOrder, top: WalkStep): Generator<WalkStep> {
  yield top;
  yield* walkInOrder(list, order, top.directory);
}

/** Takes a set from the last snapshot, or asks for it; false where it comes with the content of this entry. */
async function isObtained(
  { received, order, session, seen }: LongAttributesParts,
  step: WalkStep,
  set: number,
): Promise<boolean> {
  const { list, xattrs } = received;
  const before = await seen?.previously(pathOf(list, step));
  const values = before === undefined ? undefined : valuesFrom(before.xattrs, xattrs.sets[set]);
  if (values !== undefined) {
    session.learnAttributes(set, values);
    return true;
  }
  if (isRegular(list.mode(step.entry)) && seen?.isSent(step, before) === true) return false;
  session.requestAttributes(indexOfStep(order, step), set, seen?.changes(step, before));
  seen?.onTold(step);
  return true;
}

function pathOf(list: FileList, { depth, parent, entry }: WalkStep): RawPath {
  if (depth === 0) return "" as RawPath;
  return joinRaw(list.directoryPath(parent).replace(/^\//, "") as RawPath, list.name(entry));
}

/** The values of all long attributes of a set, by number, if they are among those that an entry had before. */
function valuesFrom(
  before: readonly ExtendedAttribute[],
  set: readonly WireAttribute[],
): Map<number, Buffer> | undefined {
  const values = new Map<number, Buffer>();
  for (const attribute of set.filter(isAbbreviated)) {
    const value = before.find(({ name }) => name === attribute.name)?.value;
    if (value === undefined || !isValueOf(value, attribute)) return undefined;
    values.set(attribute.number, Buffer.from(value));
  }
  return values;
}
