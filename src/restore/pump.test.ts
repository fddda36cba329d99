import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { createPump } from "./pump.ts";

test("no more is under way than there is room for", async () => {
  const pump = createPump(3, 100);
  let underWay = 0;
  let bytesUnderWay = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 50 }, async (_, index) => {
      const bytes = (index * 37) % 90;
      await pump.enter(bytes);
      underWay++;
      bytesUnderWay += bytes;
      most = Math.max(most, underWay);
      assert.ok(underWay <= 3 && bytesUnderWay <= 100);
      await turn();
      underWay--;
      bytesUnderWay -= bytes;
      pump.leave(bytes);
    }),
  );
  assert.equal(most, 3);
});

test("something larger than all the room goes alone", async () => {
  const pump = createPump(3, 100);
  await pump.enter(10);
  let entered = false;
  const large = pump.enter(1000).then(() => {
    entered = true;
  });
  await turn();
  assert.equal(entered, false);
  pump.leave(10);
  await large;
  let followed = false;
  const next = pump.enter(0).then(() => {
    followed = true;
  });
  await turn();
  assert.equal(followed, false);
  pump.leave(1000);
  await next;
});
