import type { TestContext } from "node:test";

/** What the tools here need of a test: a place to hang what is to be undone at its end, also when it fails. */
export type Cleanup = Pick<TestContext, "after">;

type Undo = () => void | Promise<void>;

const undoStacks = new WeakMap<Cleanup, Undo[]>();

/**
 * Runs `undo` when the test ends, the last one registered first, because what was set up later stands on what came
 * before. (The runner's own hooks run in the order in which they were registered.) One that throws stops no other.
 */
export function atEnd(t: Cleanup, undo: Undo): void {
  const existing = undoStacks.get(t);
  if (existing !== undefined) {
    existing.push(undo);
    return;
  }
  const stack = [undo];
  undoStacks.set(t, stack);
  t.after(() => undoAll(stack));
}

async function undoAll(stack: Undo[]): Promise<void> {
  const errors: unknown[] = [];
  for (let undo = stack.pop(); undo !== undefined; undo = stack.pop()) {
    try {
      await undo();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw new AggregateError(errors, "could not undo all that the test set up");
}
