import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { addressOf, allocateNative, isExported, lazy, libcFunction, type NativeMemory } from "./libc.ts";

/**
 * zstd with a context that is kept from call to call.
 *
 * Node's own functions make a context and output memory for each call, which costs a tenth of the time and fragments
 * memory. The library inside the Node executable is called directly instead; where it is not exported, Node's function
 * does the same work.
 */
export interface ZstdCompressor {
  /** Compresses `memory` from `start` to `end`; a view that is overwritten by the next call. */
  compress(memory: NativeMemory, start: number, end: number): Uint8Array;
}

/** `ZSTD_cParameter` of zstd.h. */
const PARAMETERS = { compressionLevel: 100, hashLog: 102, chainLog: 103, blockSplitterLevel: 1017 } as const;

export interface ZstdParameters {
  readonly compressionLevel: number;
  /** Sizes of the match tables, as powers of two; the level's own where they are not given. */
  readonly hashLog?: number;
  readonly chainLog?: number;
  /**
   * How hard to look for places where a block is better split (zstd 1.5.7): 1 not at all. Experimental: where the library
   * does not know it, it is left out.
   */
  readonly blockSplitterLevel?: number;
}

const ZSTD = {
  createCCtx: libcFunction("ZSTD_createCCtx", "uintptr_t", []),
  setParameter: libcFunction("ZSTD_CCtx_setParameter", "uintptr_t", ["uintptr_t", "int", "int"]),
  compress2: libcFunction("ZSTD_compress2", "uintptr_t", [
    "uintptr_t",
    "uintptr_t",
    "uintptr_t",
    "uintptr_t",
    "uintptr_t",
  ]),
  compressBound: libcFunction("ZSTD_compressBound", "uintptr_t", ["uintptr_t"]),
  createDCtx: libcFunction("ZSTD_createDCtx", "uintptr_t", []),
  decompressDCtx: libcFunction("ZSTD_decompressDCtx", "uintptr_t", [
    "uintptr_t",
    "uintptr_t",
    "uintptr_t",
    "uintptr_t",
    "uintptr_t",
  ]),
  isError: libcFunction("ZSTD_isError", "uint", ["uintptr_t"]),
};

export function createZstdCompressor(parameters: ZstdParameters): ZstdCompressor {
  return isExported(ZSTD) ? createDirect(parameters) : createByNode(parameters);
}

function createDirect(parameters: ZstdParameters): ZstdCompressor {
  const context = ZSTD.createCCtx()();
  if (context === 0) throw new Error("out of memory for a zstd context");
  for (const [name, value] of Object.entries(parameters) as [keyof ZstdParameters, number][]) {
    const isRefused = ZSTD.isError()(ZSTD.setParameter()(context, PARAMETERS[name], value)) !== 0;
    if (isRefused && name !== "blockSplitterLevel") {
      throw new RangeError(`zstd does not take ${name} ${value}`);
    }
  }
  let output = allocateNative(8);
  return {
    compress(memory, start, end) {
      const bound = ZSTD.compressBound()(end - start);
      if (output.bytes.length < bound) output = allocateNative(Math.ceil(bound / 8) * 8);
      const length = ZSTD.compress2()(
        context,
        output.address,
        output.bytes.length,
        memory.address + start,
        end - start,
      );
      if (ZSTD.isError()(length) !== 0) throw new Error(`zstd failed with ${length}`);
      return output.bytes.subarray(0, length);
    },
  };
}

/** What `createZstdCompressor` gives where the library is out of reach; exported for its test. */
export function createByNode(parameters: ZstdParameters): ZstdCompressor {
  const { ZSTD_c_compressionLevel, ZSTD_c_hashLog, ZSTD_c_chainLog } = constants;
  const params = {
    [ZSTD_c_compressionLevel]: parameters.compressionLevel,
    ...(parameters.hashLog === undefined ? {} : { [ZSTD_c_hashLog]: parameters.hashLog }),
    ...(parameters.chainLog === undefined ? {} : { [ZSTD_c_chainLog]: parameters.chainLog }),
  };
  return {
    compress(memory, start, end) {
      const length = end - start;
      const options = { chunkSize: length + 4096, params, pledgedSrcSize: length };
      return zstdCompressSync(memory.bytes.subarray(start, end), options);
    },
  };
}

/**
 * What `compressed` holds, at most `maximumLength` bytes, in memory of its own. Throws where it is damaged or holds more.
 *
 * Straight into the memory that is given, with no window beside it, and a context that each thread keeps.
 */
export function zstdDecompress(compressed: Uint8Array, maximumLength: number): Buffer {
  return isExported(ZSTD) ? decompressDirectly(compressed, maximumLength) : decompressByNode(compressed, maximumLength);
}

/** As `zstdDecompress`, from one memory into another, which has room for `maximumLength`. Gives the length. */
export function zstdDecompressInto(
  from: NativeMemory,
  start: number,
  end: number,
  into: NativeMemory,
  maximumLength: number,
): number {
  if (maximumLength > into.bytes.length) throw new RangeError(`there is no room for ${maximumLength} bytes`);
  if (!isExported(ZSTD)) return decompressByNode(from.bytes.subarray(start, end), maximumLength).copy(into.bytes);
  return decompressAt(into.address, maximumLength, from.address + start, end - start);
}

const decompression = lazy(() => {
  const context = ZSTD.createDCtx()();
  if (context === 0) throw new Error("out of memory for a zstd context");
  return context;
});

function decompressDirectly(compressed: Uint8Array, maximumLength: number): Buffer {
  const raw = Buffer.allocUnsafeSlow(maximumLength);
  return raw.subarray(0, decompressAt(addressOf(raw), raw.length, addressOf(compressed), compressed.length));
}

function decompressAt(into: number, roomBytes: number, from: number, lengthBytes: number): number {
  const length = ZSTD.decompressDCtx()(decompression(), into, roomBytes, from, lengthBytes);
  if (ZSTD.isError()(length) !== 0) throw new Error("zstd cannot decompress it");
  return length;
}

/** What `zstdDecompress` does where the library is out of reach; exported for its test. */
export function decompressByNode(compressed: Uint8Array, maximumLength: number): Buffer {
  // One output buffer instead of many of 16 KiB that are then joined; a full one would make zlib ask for another.
  const chunkSize = Math.max(maximumLength + 1, 64);
  return zstdDecompressSync(compressed, { chunkSize, maxOutputLength: Math.max(maximumLength, 1) });
}
