import type { KeyObject } from "node:crypto";
import { prepareKey } from "../crypto/aead.ts";
import { openFrameKey } from "../format/frame.ts";

/** Gives the key of all frames of an origin; each is computed once, as that costs a tenth of a millisecond. */
export function createFrameKeys(privateKey: Uint8Array, repositoryId: Uint8Array): (origin: Buffer) => KeyObject {
  const keys = new Map<string, KeyObject>();
  return (origin) => {
    const name = origin.latin1Slice();
    let key = keys.get(name);
    if (key === undefined) {
      key = prepareKey(openFrameKey(privateKey, origin, repositoryId));
      keys.set(name, key);
    }
    return key;
  };
}
