import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encodeFrameSet, type FrameSetOrigin } from "../format/frame-set.ts";
import { createFrameTable, type FrameTable } from "./frame-table.ts";
import { findLiveFrames } from "./live-frames.ts";
import type { SnapshotRecord } from "./snapshots.ts";
import { processorMs } from "../platform/testing/processor-time.ts";

const MAXIMUM_NUMBER = 2 ** 31 - 1;
const originOf = (number: number): Buffer => Buffer.alloc(32, number + 1);

function tableOf(names: readonly (readonly [origin: number, number: number])[]): FrameTable {
  const table = createFrameTable();
  const frames = names.map(([origin, number], at) => {
    return { kind: "data" as const, origin: originOf(origin), number, offset: 24 + at * 100, length: 100 };
  });
  table.addPack({ name: Buffer.alloc(32), sizeBytes: 1e6, frames });
  return table;
}

/** As much of a record as is looked at. */
function snapshotOf(id: string, set: readonly FrameSetOrigin[]): SnapshotRecord {
  return { id, record: { frameSetBytes: encodeFrameSet(set) } } as unknown as SnapshotRecord;
}

const numbers = fc.uniqueArray(
  fc.oneof({ weight: 5, arbitrary: fc.nat(100) }, { weight: 1, arbitrary: fc.nat(MAXIMUM_NUMBER) }),
  { maxLength: 30 },
);

test("live is what any snapshot names, and what is named and nowhere is counted", () => {
  fc.assert(
    fc.property(
      fc.array(numbers, { maxLength: 3 }),
      fc.array(fc.array(numbers, { maxLength: 3 }), { maxLength: 4 }),
      (held, named) => {
        const names = held.flatMap((list, origin) => list.map((number) => [origin, number] as const));
        const table = tableOf(names);
        const snapshots = named.map((set, at) =>
          snapshotOf(
            `snapshot ${at}`,
            set.map((list, origin) => ({ origin: originOf(origin), numbers: Uint32Array.from(list).sort() })),
          ),
        );
        const { live, missing } = findLiveFrames(table, snapshots);
        names.forEach(([origin, number], frame) => {
          assert.equal(
            live[frame] === 1,
            named.some((set) => set[origin]?.includes(number)),
          );
        });
        named.forEach((set, at) => {
          const lost = set.flatMap((list, origin) => list.filter((number) => !held[origin]?.includes(number)));
          assert.equal(missing.get(`snapshot ${at}`) ?? 0, lost.length);
        });
      },
    ),
  );
});

test("a range of two thousand million frames takes no time, whatever the frames' numbers are", () => {
  const table = tableOf([
    [0, 0],
    [0, 17],
    [0, MAXIMUM_NUMBER],
    [0, 1_000_000_000],
    [1, MAXIMUM_NUMBER],
  ]);
  const start = processorMs();
  const everything = Uint32Array.of(0, MAXIMUM_NUMBER + 1);
  const snapshots = Array.from({ length: 100 }, (_, at) =>
    snapshotOf(`snapshot ${at}`, [
      { origin: originOf(0), ranges: everything },
      { origin: originOf(1), ranges: everything },
      { origin: originOf(2), ranges: everything },
    ]),
  );
  const { live, missing } = findLiveFrames(table, snapshots);
  assert.deepEqual([...live], [1, 1, 1, 1, 1]);
  assert.equal(missing.get("snapshot 99"), 3 * (MAXIMUM_NUMBER + 1) - 5);
  const tookMs = processorMs() - start;
  assert.ok(tookMs < 2000, `${tookMs} ms`);
});

test("a hundred thousand long ranges over ten thousand wild frames take no time", () => {
  const table = tableOf(Array.from({ length: 10_000 }, (_, at) => [0, at * 200_000] as const));
  const ranges = new Uint32Array(200_000);
  for (let range = 0; range < 100_000; range++) ranges.set([range * 20_000, 19_000], range * 2);
  const start = processorMs();
  const { live } = findLiveFrames(table, [snapshotOf("hostile", [{ origin: originOf(0), ranges }])]);
  assert.ok(live.every((isLive) => isLive === 1));
  const tookMs = processorMs() - start;
  assert.ok(tookMs < 2000, `${tookMs} ms`);
});

test("a superseded frame stands for those into which it was laid, and stays live for nobody", () => {
  const table = tableOf([[0, 3]]);
  const forwards = [{ origin: originOf(0), number: 3, others: [] }];
  const carrier = { kind: "data" as const, origin: originOf(1), number: 0, offset: 24, length: 100, forwards };
  table.addPack({ name: Buffer.alloc(32, 1), sizeBytes: 1e6, frames: [carrier] });
  const snapshot = snapshotOf("s", [{ origin: originOf(0), numbers: Uint32Array.of(3) }]);
  assert.deepEqual([...findLiveFrames(table, [snapshot]).live], [1, 0]);
  assert.deepEqual([...findLiveFrames(table, [snapshot], new Map([[0, undefined]])).live], [0, 1]);
  assert.equal(findLiveFrames(table, [snapshot], new Map([[0, undefined]])).missing.size, 0);
});
