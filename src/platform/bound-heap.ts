import { setFlagsFromString } from "node:v8";

let isBounded = false;

/**
 * From now on, garbage is collected as soon as there is as much of it as of what is in use, in all threads. Left to itself,
 * V8 lets several times as much gather where much is made in little time. It costs a few hundredths of the processor's time.
 */
export function boundHeap(): void {
  if (isBounded) return;
  isBounded = true;
  setFlagsFromString("--heap-growing-percent=100");
}
