import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../../storage/testing/random.ts";
import { ByteStore, Column } from "./columns.ts";
import { SegmentPool } from "./segment-pool.ts";

/** Holds hardly a segment of each. */
const tinyPool = (): SegmentPool => new SegmentPool(40 * 1024);

test("columns keep their numbers, wherever they are looked at and changed, while others are put away", () => {
  const pool = tinyPool();
  const columns = (["u16", "u32", "f64"] as const).map((kind) => new Column(kind, pool));
  const expected = columns.map(() => new Map<number, number>());
  const random = seededRandom(5).below;
  for (let step = 0; step < 60_000; step++) {
    const column = random(columns.length);
    // Mostly one after another, as lists come, and now and then anywhere.
    const index = random(10) < 8 ? step : random(100_000);
    if (random(3) > 0) {
      const value = random(65_536);
      columns[column].set(index, value);
      expected[column].set(index, value);
    }
    const other = random(100_000);
    assert.equal(columns[column].get(other), expected[column].get(other) ?? 0);
  }
  for (const [number, column] of columns.entries()) {
    for (const [index, value] of expected[number]) assert.equal(column.get(index), value);
  }
});

test("strings of bytes come back, and compare as they did, while others are put away", () => {
  const store = new ByteStore(tinyPool());
  const random = seededRandom(6).below;
  const long = Buffer.alloc(65_535, 0x61);
  const strings = Array.from({ length: 3000 }, (_, number) => {
    if (number % 500 === 7) return long;
    return Buffer.from(Array.from({ length: random(300) }, () => random(256)));
  });
  const places = strings.map((bytes) => store.add(bytes, 0, bytes.length));
  for (let step = 0; step < 3000; step++) {
    const [a, b] = [random(strings.length), random(strings.length)];
    assert.deepEqual(store.get(places[a]), strings[a]);
    assert.equal(store.latin1(places[a]), strings[a].latin1Slice());
    assert.equal(store.equals(places[a], strings[b], 0, strings[b].length), strings[a].equals(strings[b]));
    assert.equal(Math.sign(store.compare(places[a], places[b], -1)), Buffer.compare(strings[a], strings[b]));
  }
});

test("what is read again and again is held in the end", () => {
  const pool = tinyPool();
  const column = new Column("f64", pool);
  for (let index = 0; index < 40_000; index++) column.set(index, index);
  let readAgain = 0;
  const original = pool.readAgain.bind(pool);
  pool.readAgain = (place, into) => {
    readAgain++;
    original(place, into);
  };
  const goThrough = (): number => {
    const before = readAgain;
    for (let index = 0; index < 40_000; index += 100) assert.equal(column.get(index), index);
    return readAgain - before;
  };
  assert.ok(goThrough() > 0);
  for (let times = 0; times < 200; times++) goThrough();
  assert.equal(goThrough(), 0);
});
