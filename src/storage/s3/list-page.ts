import { StorageError } from "../../errors.ts";

/** One page of ListObjectsV2. */
export interface ListPage {
  readonly objects: readonly ListedObject[];
  /** Asks for the next page; undefined on the last one. */
  readonly continuation: string | undefined;
}

export interface ListedObject {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

const CONTENTS = /<Contents>(.*?)<\/Contents>/gs;

/** Reads the XML of a page. Throws `StorageError` where it is none. */
export function readListPage(xml: string): ListPage {
  if (!/<ListBucketResult[\s>]/.test(xml)) throw notAPage();
  const objects = Array.from(xml.matchAll(CONTENTS), ([, contents]) => {
    const sizeBytes = Number(elementOf(contents, "Size") ?? NaN);
    const modifiedMs = Date.parse(elementOf(contents, "LastModified") ?? "");
    const key = elementOf(contents, "Key");
    if (key === undefined || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || Number.isNaN(modifiedMs)) {
      throw notAPage();
    }
    return { key, sizeBytes, modifiedMs };
  });
  if (elementOf(xml, "IsTruncated") !== "true") return { objects, continuation: undefined };
  const continuation = elementOf(xml, "NextContinuationToken");
  // Without it the first page would come again for ever.
  if (continuation === undefined) throw notAPage();
  return { objects, continuation };
}

/** The text of the first element of that name, or undefined where there is none. */
export function elementOf(xml: string, name: string): string | undefined {
  const content = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
  return content?.replace(/&(?:#x([0-9a-f]{1,6})|#([0-9]{1,7})|(amp|lt|gt|quot|apos));/gi, unescapeEntity);
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function unescapeEntity(entity: string, hex?: string, decimal?: string, name?: string): string {
  if (name !== undefined) return ENTITIES[name.toLowerCase()];
  const code = hex !== undefined ? parseInt(hex, 16) : Number(decimal);
  return code <= 0x10ffff ? String.fromCodePoint(code) : entity;
}

function notAPage(): StorageError {
  return new StorageError("the S3 server's answer is not a list of objects", {
    hint: "is it the address of an S3 service, and not of its console?",
  });
}
