/** What a host that was broken into may try: an agent that says what it likes, and objects that are not what they seem. */
import { createFrameKey, frameBlobTable, sealFrame } from "../../src/format/frame.ts";
import { encodeFrameSet } from "../../src/format/frame-set.ts";
import { encodeIndex, sealBlobSection } from "../../src/format/index-object.ts";
import {
  encodePackEnd,
  encodePackHeader,
  type FrameForward,
  type FrameLocation,
  packObjectName,
  sealBlobList,
} from "../../src/format/pack.ts";
import { encodeSnapshot, type SnapshotOpenPart } from "../../src/format/snapshot.ts";
import type { KeyRing } from "../../src/crypto/key-ring.ts";
import { derivedKeys } from "../../src/crypto/key-ring.ts";
import { checksum16, createKeyedHash, sha256 } from "../../src/crypto/keyed-hash.ts";
import type { SigningKey } from "../../src/crypto/signing.ts";
import type { RawPath } from "../../src/platform/raw-path.ts";
import { type Connection, openConnection } from "../../src/wire/connection.ts";
import { decodeServerHello, encodeHello, type Purpose, type ServerHello, VERSION } from "../../src/wire/hello.ts";
import { createRequester, type Requester } from "../../src/wire/requests.ts";
import { encodeNameRequest, encodePutRequest, METHODS } from "../../src/wire/storage-calls.ts";
import type { TestFleet } from "./test-fleet.ts";

export interface HostileAgent {
  readonly connection: Connection;
  readonly requester: Requester;
  readonly hello: ServerHello;
  put(name: string, content: Uint8Array): Promise<Buffer>;
  delete(name: string): Promise<Buffer>;
}

/** Says a proper hello, and then lets the caller do as it likes. */
export async function hostileAgent(
  fleet: TestFleet,
  host: string,
  purpose: Purpose = "backup",
  resume?: string,
): Promise<HostileAgent> {
  const connection = openConnection(fleet.connect(host));
  const messages = connection.messages();
  connection.send({ kind: "hello", json: encodeHello({ version: VERSION, program: "hostile", purpose, resume }) });
  const first = await messages.next();
  if (first.done === true || first.value.kind !== "hello") throw new Error("there is no hello");
  const requester = createRequester(connection);
  void requester.run(messages);
  return {
    connection,
    requester,
    hello: decodeServerHello(first.value.json),
    put: (name, content) =>
      requester.call({
        method: METHODS.put,
        body: encodePutRequest({ name, sizeBytes: content.length, offset: 0 }),
        upload: [content],
      }),
    delete: (name) => requester.call({ method: METHODS.delete, body: encodeNameRequest(name) }),
  };
}

export interface ForgedPack {
  readonly id: string;
  readonly name: string;
  readonly bytes: Buffer;
  readonly frames: FrameLocation[];
  readonly origin: Buffer;
  readonly blobs: { ids: Buffer; lengths: number[] }[];
}

export interface Forgery {
  /** The origin in place of a fresh one; its key is then a wrong one. */
  readonly origin?: Buffer;
  readonly firstNumber?: number;
  readonly blobIds?: readonly Buffer[];
  readonly forwards?: readonly FrameForward<Uint8Array>[];
  /** Changes the directory's entry of a frame before it is written. */
  readonly directory?: (frame: FrameLocation) => FrameLocation;
  readonly repositoryId?: Buffer;
}

/** A pack of one frame for each content, true but for what `forgery` says. */
export function forgePack(ring: KeyRing, contents: readonly Uint8Array[], forgery: Forgery = {}): ForgedPack {
  const repositoryId = forgery.repositoryId ?? ring.repositoryId;
  const made = createFrameKey(ring.publicKey, repositoryId);
  const origin = forgery.origin ?? made.origin;
  const hash = createKeyedHash(derivedKeys(ring).data);
  const parts: Buffer[] = [encodePackHeader(repositoryId)];
  let offset = parts[0].length;
  const frames: FrameLocation[] = [];
  const blobs: ForgedPack["blobs"] = [];
  for (const [index, content] of contents.entries()) {
    const number = (forgery.firstNumber ?? 0) + index;
    const payload = Buffer.concat([frameBlobTable([content.length]), content]);
    const record = sealFrame({
      key: made.key,
      repositoryId,
      origin,
      number,
      kind: "data",
      compression: "none",
      rawLength: payload.length,
      payload,
    });
    const ids = forgery.blobIds?.[index] ?? hash.hash(content);
    const sealedBlobs = sealBlobList(ring.indexKey, repositoryId, origin, number, ids, [content.length]);
    const frame: FrameLocation = {
      kind: "data",
      origin,
      number,
      offset,
      length: record.length,
      checksum: checksum16(record),
      sealedBlobs,
      ...(forgery.forwards && { forwards: forgery.forwards as FrameForward[] }),
    };
    frames.push(forgery.directory?.(frame) ?? frame);
    blobs.push({ ids, lengths: [content.length] });
    parts.push(record);
    offset += record.length;
  }
  parts.push(encodePackEnd(frames));
  const bytes = Buffer.concat(parts);
  const id = sha256(bytes).toString("hex");
  return { id, name: packObjectName(id), bytes, frames, origin, blobs };
}

/** An index of these packs, whose blobs may be changed before they are sealed. */
export function forgeIndex(
  ring: KeyRing,
  packs: readonly ForgedPack[],
  change: (entries: { ids: Buffer; frames: Uint32Array; places: Uint16Array; lengths: Uint32Array }) => void = () =>
    undefined,
): { name: string; bytes: Buffer } {
  const frames = packs.flatMap((pack) => pack.frames);
  const blobs = packs.flatMap((pack) => pack.blobs);
  const entries = {
    ids: Buffer.concat(blobs.map((blob) => blob.ids.subarray(0, 16))),
    frames: Uint32Array.from(blobs.keys()),
    places: new Uint16Array(blobs.length),
    lengths: Uint32Array.from(blobs, (blob) => blob.lengths[0]),
  };
  change(entries);
  const origins = packs.map((pack) => pack.origin);
  const section = sealBlobSection(ring.indexKey, ring.repositoryId, {
    count: blobs.length,
    frameNames: {
      origins: Buffer.concat(origins),
      originIndexes: Uint32Array.from(packs.flatMap((pack, index) => pack.frames.map(() => index))),
      numbers: Uint32Array.from(frames, (frame) => frame.number),
    },
    ...entries,
  });
  const bytes = Buffer.concat(
    encodeIndex({
      repositoryId: ring.repositoryId,
      packs: packs.map((pack) => ({
        name: Buffer.from(pack.id, "hex"),
        sizeBytes: pack.bytes.length,
        frames: pack.frames,
      })),
      sections: [section],
    }),
  );
  return { name: `index/${sha256(bytes).toString("hex")}`, bytes };
}

export interface ForgedSnapshot {
  readonly host: string;
  readonly signingKey: SigningKey;
  readonly timeMs: number;
  readonly frames: readonly { readonly origin: Buffer; readonly numbers: Uint32Array }[];
  readonly open?: Partial<SnapshotOpenPart>;
  readonly repositoryId?: Buffer;
}

export function forgeSnapshot(ring: KeyRing, snapshot: ForgedSnapshot): { name: string; bytes: Buffer; id: string } {
  const bytes = encodeSnapshot({
    repositoryId: snapshot.repositoryId ?? ring.repositoryId,
    publicKey: ring.publicKey,
    signingKey: snapshot.signingKey,
    open: {
      time: new Date(snapshot.timeMs).toISOString(),
      host: snapshot.host,
      group: "0".repeat(32),
      parent: null,
      files: 1,
      directories: 0,
      others: 0,
      sizeBytes: 1,
      addedBytes: 1,
      storedBytes: 1,
      complete: true,
      ...snapshot.open,
    },
    frameSet: encodeFrameSet(snapshot.frames),
    sealed: {
      paths: [],
      tags: [],
      user: "",
      program: "",
      excludes: [],
      statistics: {},
      root: {
        name: "" as RawPath,
        type: "directory",
        mode: 0,
        uid: 0,
        gid: 0,
        user: "",
        group: "",
        inodeFlags: 0,
        mtimeSeconds: 0,
        mtimeNanoseconds: 0,
        xattrs: [],
        hardLink: undefined,
        tree: Buffer.alloc(32),
      },
    },
  });
  const id = sha256(bytes).toString("hex");
  return { id, name: `snapshots/${id}`, bytes };
}

export function framesOf(pack: ForgedPack): { origin: Buffer; numbers: Uint32Array } {
  return { origin: pack.origin, numbers: Uint32Array.from(pack.frames, (frame) => frame.number) };
}
