import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { usedMemoryBytes } from "../../test/support/heap.ts";
import { createFrameTable, type FrameTable, type NewPack, type Superseded } from "./frame-table.ts";
import { processorMs } from "../platform/testing/processor-time.ts";

const MAXIMUM_NUMBER = 2 ** 31 - 1;

interface NamedFrame {
  readonly origin: number;
  readonly number: number;
  readonly length: number;
  readonly isTree: boolean;
}

const frameNumber = fc.oneof(
  { weight: 4, arbitrary: fc.nat(40) },
  { weight: 1, arbitrary: fc.nat(2000) },
  { weight: 1, arbitrary: fc.integer({ min: MAXIMUM_NUMBER - 5, max: MAXIMUM_NUMBER }) },
);
const namedFrame = fc.record({
  origin: fc.nat(3),
  number: frameNumber,
  length: fc.integer({ min: 60, max: 5000 }),
  isTree: fc.boolean(),
});
const someFrames = fc.array(namedFrame, { maxLength: 25 });

const originOf = (number: number): Buffer => Buffer.alloc(32, number + 1);

let packCount = 0;

function packOf(frames: readonly NamedFrame[], forwards?: NewPack["frames"][number]["forwards"]): NewPack {
  let offset = 24;
  return {
    name: Buffer.alloc(32, `pack ${packCount++} `),
    sizeBytes: 1_000_000,
    frames: frames.map(({ origin, number, length, isTree }) => {
      const frame = {
        kind: isTree ? ("tree" as const) : ("data" as const),
        origin: originOf(origin),
        number,
        offset,
        length,
      };
      offset += length;
      return { ...frame, forwards };
    }),
  };
}

test("a table says of every frame what was put in, and finds it by its name", () => {
  fc.assert(
    fc.property(fc.array(someFrames, { maxLength: 6 }), (packs) => {
      const table = createFrameTable();
      const model: { pack: NewPack; frame: NewPack["frames"][number] }[] = [];
      for (const frames of packs) {
        const pack = packOf(frames);
        assert.equal(table.addPack(pack), model.length);
        for (const frame of pack.frames) model.push({ pack, frame });
        assert.equal(table.addPack(pack), -1);
        assert.ok(table.hasPack(pack.name));
      }
      assert.equal(table.count(), model.length);
      model.forEach(({ pack, frame }, number) => {
        const { kind, origin, number: frameInOrigin, offset, length } = frame;
        const row = table.locate(number);
        assert.deepEqual(
          { ...row, pack: row.pack.name.toString("latin1") },
          { pack: pack.name.toString("latin1"), kind, origin, number: frameInOrigin, offset, length },
        );
        assert.equal(table.packOf(number).name.toString("latin1"), pack.name.toString("latin1"));
        const same = model.flatMap((other, at) =>
          other.frame.origin.equals(origin) && other.frame.number === frameInOrigin ? [at] : [],
        );
        const found = table.find(origin, frameInOrigin);
        assert.deepEqual([found, ...table.copiesOf(found)].sort(ascending), same);
        assert.equal(table.findIn(table.findOrigin(origin), frameInOrigin), found);
      });
      assert.equal(table.find(originOf(9), 0), -1);
      assert.equal(table.findOrigin(originOf(9)), -1);
    }),
  );
});

const ascending = (a: number, b: number): number => a - b;

test("going through a range of numbers gives exactly those that are known, whatever the order in which they came", () => {
  fc.assert(
    fc.property(someFrames, frameNumber, fc.oneof(fc.nat(50), fc.nat(MAXIMUM_NUMBER)), (frames, first, count) => {
      const table = createFrameTable();
      table.addPack(packOf(frames));
      for (let origin = 0; origin < 4; origin++) {
        const seen: number[] = [];
        table.forEachNumber(table.findOrigin(originOf(origin)), first, count, (number, frame) => {
          assert.equal(frame, table.find(originOf(origin), number));
          seen.push(number);
        });
        const known = new Set(frames.flatMap((frame) => (frame.origin === origin ? [frame.number] : [])));
        const expected = [...known].filter((number) => number >= first && number < first + count);
        assert.deepEqual(seen.sort(ascending), expected.sort(ascending));
      }
    }),
  );
});

test("wild frame numbers cost no more memory than tame ones", () => {
  const count = 20_000;
  const before = usedMemoryBytes();
  const table = createFrameTable();
  for (let pack = 0; pack < 20; pack++) {
    const frames = Array.from({ length: count / 20 }, (_, frame) => ({
      origin: 0,
      number: ((pack * 1000 + frame) * 104_729) % MAXIMUM_NUMBER,
      length: 100,
      isTree: false,
    }));
    table.addPack(packOf(frames));
  }
  const used = usedMemoryBytes() - before;
  assert.ok(used < count * 80, `${Math.round(used / count)} bytes a frame`);
  assert.equal(table.count(), count);
});

test("many origins with one wild frame each cost little memory", () => {
  const count = 20_000;
  const before = usedMemoryBytes();
  const table = createFrameTable();
  const frames = Array.from({ length: count }, (_, at) => ({
    kind: "data" as const,
    origin: randomBytes(32),
    number: 1000,
    offset: 24 + at * 100,
    length: 100,
  }));
  table.addPack({ name: randomBytes(32), sizeBytes: 1e7, frames });
  frames.length = 0;
  const used = usedMemoryBytes() - before;
  assert.ok(used < count * 450, `${Math.round(used / count)} bytes an origin`);
});

test("a hundred thousand copies of one frame take no time", () => {
  const table = createFrameTable();
  const copies = 100_000;
  const start = processorMs();
  table.addPack(packOf(Array.from({ length: copies }, () => ({ origin: 0, number: 1, length: 100, isTree: false }))));
  assert.equal(table.copiesOf(0).length, copies - 1);
  const tookMs = processorMs() - start;
  assert.ok(tookMs < 1000, `${tookMs} ms`);
});

interface Note {
  readonly of: NamedFrame;
  readonly others: readonly NamedFrame[];
}

const frame = (origin: number, number: number): NamedFrame => ({ origin, number, length: 100, isTree: false });

/** A table with frames, one a pack, each with what notes say of it. */
function tableOf(...frames: readonly (readonly [NamedFrame, ...Note[]])[]): FrameTable {
  const table = createFrameTable();
  for (const [carrier, ...notes] of frames) {
    const forwards = notes.map(({ of, others }) => ({
      origin: originOf(of.origin),
      number: of.number,
      others: others.map(({ origin, number }) => ({ origin: originOf(origin), number })),
    }));
    table.addPack(packOf([carrier], forwards));
  }
  return table;
}

function forwardsOf(table: FrameTable, { origin, number }: NamedFrame, superseded?: Superseded): number[] | undefined {
  const found = table.forwardsOf(table.findOrigin(originOf(origin)), number, superseded);
  return found && [...found].sort(ascending);
}

test("a note leads from a frame that is no more to those into which it was laid", () => {
  const table = tableOf([frame(1, 0)], [frame(1, 1), { of: frame(0, 7), others: [frame(1, 0)] }]);
  assert.deepEqual(forwardsOf(table, frame(0, 7)), [0, 1]);
  assert.equal(forwardsOf(table, frame(0, 8)), undefined);
  assert.equal(table.find(originOf(0), 7), -1);
});

test("notes are followed over several generations, also past frames that are superseded but still there", () => {
  const table = tableOf([frame(1, 0), { of: frame(0, 7), others: [] }], [frame(2, 0), { of: frame(1, 0), others: [] }]);
  assert.deepEqual(forwardsOf(table, frame(0, 7)), [0]);
  assert.deepEqual(forwardsOf(table, frame(0, 7), new Map([[0, undefined]])), [1]);
  const later = tableOf(
    [frame(2, 0), { of: frame(0, 7), others: [frame(1, 0)] }],
    [frame(3, 0), { of: frame(1, 0), others: [] }],
  );
  assert.deepEqual(forwardsOf(later, frame(0, 7)), [0, 1]);
});

test("where a frame of a note is nowhere, that is told", () => {
  const table = tableOf([frame(1, 1), { of: frame(0, 7), others: [frame(1, 0)] }]);
  assert.deepEqual(forwardsOf(table, frame(0, 7)), [-1, 0]);
});

test("a second note of the same frame takes nothing away from the first", () => {
  const note = { of: frame(0, 7), others: [] };
  assert.deepEqual(forwardsOf(tableOf([frame(1, 0), note], [frame(2, 0), note]), frame(0, 7)), [0, 1]);
  const broken = { of: frame(0, 7), others: [frame(5, 5)] };
  assert.deepEqual(forwardsOf(tableOf([frame(1, 0), note], [frame(2, 0), broken]), frame(0, 7)), [0, 1]);
  assert.deepEqual(forwardsOf(tableOf([frame(2, 0), broken], [frame(1, 0), note]), frame(0, 7)), [0, 1]);
});

test("notes that go round in circles, or branch without end, are no trap", () => {
  const circle = tableOf(
    [frame(9, 0), { of: frame(0, 0), others: [frame(0, 1)] }],
    [frame(9, 1), { of: frame(0, 1), others: [frame(0, 0)] }],
  );
  assert.deepEqual(forwardsOf(circle, frame(0, 0)), [0, 1]);
  const branching = tableOf(
    ...Array.from({ length: 200 }, (_, at): readonly [NamedFrame, Note] => [
      frame(9, at),
      { of: frame(0, at), others: [frame(0, at + 1), frame(0, at + 1), frame(0, at + 1)] },
    ]),
  );
  assert.equal(forwardsOf(branching, frame(0, 0))?.length, 201);
});
