/** Whether a pack's blobs are what their ids say: for a server that holds the private key. */
import { derivedKeys, type KeyRing } from "../crypto/key-ring.ts";
import { createKeyedHash } from "../crypto/keyed-hash.ts";
import { RefusedError, UsageError } from "../errors.ts";
import { frameName, openFrame, openFrameKey, parseFrameBlobs } from "../format/frame.ts";
import { openBlobList } from "../format/pack.ts";
import { checkPack } from "./check-objects.ts";
import type { PackToVerify } from "./host-directory.ts";

/** Whether packs can be verified with this ring: a blind server has no private key. */
export function holdsAllKeys({ privateKey, writerSecret }: KeyRing): boolean {
  return privateKey !== undefined && writerSecret !== undefined;
}

/** The same ring with each of its secrets as `map` gives it. */
export function mapKeyRing(ring: KeyRing, map: (secret: Buffer) => Buffer): KeyRing {
  const { repositoryId, publicKey, indexKey, writerSecret, privateKey } = ring;
  return {
    repositoryId: map(repositoryId),
    publicKey: map(publicKey),
    indexKey: map(indexKey),
    writerSecret: writerSecret && map(writerSecret),
    privateKey: privateKey && map(privateKey),
  };
}

/**
 * A verifier with this ring, which must open frames and name blobs: a full one. Throws `UsageError` for others. It takes a
 * second for some 200 MiB: see verify-pool.ts.
 */
export function createPackVerifier(ring: KeyRing): (pack: PackToVerify) => void {
  const { privateKey, repositoryId, indexKey } = ring;
  if (privateKey === undefined || ring.writerSecret === undefined) {
    throw new UsageError("a server verifies packs only with a full key ring");
  }
  const keys = derivedKeys(ring);
  const hashes = { data: createKeyedHash(keys.data), tree: createKeyedHash(keys.tree) };

  return ({ id, bytes }) => {
    const frameKeys = new Map<string, Buffer>();
    for (const frame of checkPack(id, bytes, repositoryId, indexKey)) {
      const { origin, number } = frame;
      const originKey = origin.latin1Slice();
      const frameKey = frameKeys.get(originKey) ?? openFrameKey(privateKey, origin, repositoryId);
      frameKeys.set(originKey, frameKey);
      const record = bytes.subarray(frame.offset, frame.offset + frame.length);
      const { raw } = openFrame(record, frameKey, repositoryId, { kind: frame.kind, origin, number });
      const { count, offsets, lengths } = parseFrameBlobs(raw, frameName(origin, number));
      const listed = openBlobList(indexKey, repositoryId, origin, number, frame.sealedBlobs);
      if (count !== listed.lengths.length) throw lies(id, origin, number);
      for (let place = 0; place < count; place++) {
        const blob = raw.subarray(offsets[place], offsets[place] + lengths[place]);
        const idAgrees = hashes[frame.kind].hash(blob).equals(listed.ids.subarray(place * 32, place * 32 + 32));
        if (lengths[place] !== listed.lengths[place] || !idAgrees) throw lies(id, origin, number);
      }
    }
  };
}

function lies(id: string, origin: Uint8Array, number: number): RefusedError {
  const where = frameName(origin, number);
  return new RefusedError(`pack ${id.slice(0, 16)}… is refused: blobs of ${where} are not what their ids say`);
}
