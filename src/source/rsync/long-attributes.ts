import type { ExtendedAttribute, TreeEntry } from "../../format/tree.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { attributeSum } from "./protocol/checksums.ts";
import type { ReceivedFileList } from "./protocol/file-list-decoder.ts";
import { isRegular } from "./protocol/file-list.ts";
import { indexOfStep, walkInOrder } from "./protocol/file-order.ts";
import type { FileOrder, WalkStep } from "./protocol/file-order.ts";
import type { ReceiverSession } from "./protocol/receiver.ts";
import { isAbbreviated } from "./protocol/xattr.ts";
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
    if (done.has(set)) continue;
    const changes = parts.seen === undefined ? 0 : await requestAsSeen(parts.seen, parts, step, set);
    if (changes === undefined) continue;
    done.add(set);
    if (changes !== "known") session.requestAttributes(indexOfStep(order, step), set, changes);
  }
  await session.answered();
}

function* stepsFrom({ list }: ReceivedFileList, order: FileOrder, top: WalkStep): Generator<WalkStep> {
  yield top;
  yield* walkInOrder(list, order, top.directory);
}

/** What the other side's user may be told with a request; undefined where these need not be asked for of this entry. */
async function requestAsSeen(
  { previously, changes, isSent, onTold }: SeenRequests,
  { received, session }: LongAttributesParts,
  step: WalkStep,
  set: number,
): Promise<number | "known" | undefined> {
  const { list, xattrs } = received;
  const parts = step.depth === 0 ? [] : [list.directoryPath(step.parent).replace(/^\//, ""), list.name(step.entry)];
  const before = await previously(parts.filter((part) => part !== "").join("/") as RawPath);
  const values = before === undefined ? undefined : valuesFrom(before.xattrs, xattrs.sets[set]);
  if (values !== undefined) {
    session.learnAttributes(set, values);
    return "known";
  }
  if (isRegular(list.mode(step.entry)) && isSent(step, before)) return undefined;
  onTold(step);
  return changes(step, before);
}

/** The values of all long attributes of a set, by number, if they are among those that an entry had before. */
function valuesFrom(
  before: readonly ExtendedAttribute[],
  set: readonly WireAttribute[],
): Map<number, Buffer> | undefined {
  const values = new Map<number, Buffer>();
  for (const attribute of set.filter(isAbbreviated)) {
    const value = before.find(({ name }) => name === attribute.name)?.value;
    if (value?.length !== attribute.lengthBytes || !attributeSum(value).equals(attribute.listed)) return undefined;
    values.set(attribute.number, Buffer.from(value));
  }
  return values;
}
