/**
 * Headers of tar archives as POSIX.1-2001 ("pax") has them: a ustar header of 512 bytes, and before it, where that has
 * no room for something, a header of type `x` with records of key and value of any length.
 * See "pax Interchange Format" in POSIX, and `tar(5)` of libarchive and GNU tar's manual for the keys that are theirs.
 */

export const BLOCK_BYTES = 512;

/** One character a byte, as paths are. */
export type ByteText = string;

export interface TarHeader {
  readonly path: ByteText;
  /** `0` file, `1` hard link, `2` symbolic link, `3` and `4` devices, `5` directory, `6` FIFO. */
  readonly typeFlag: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly userName: ByteText;
  readonly groupName: ByteText;
  /** Of what follows in the archive. */
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly linkTarget: ByteText;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Further records, in the order in which they are written. */
  readonly records: readonly PaxRecord[];
}

export interface PaxRecord {
  readonly key: ByteText;
  readonly value: Uint8Array | ByteText;
}

/** All headers of one entry, padded to whole blocks. */
export function encodeTarHeader(header: TarHeader): Buffer {
  const records = [...recordsBeyondUstar(header), ...header.records];
  const own = ustarBlock(header);
  if (records.length === 0) return own;
  const content = Buffer.concat(records.map(encodeRecord));
  const extended = ustarBlock({
    ...header,
    path: `PaxHeaders/${header.path.replace(/\/$/, "").split("/").at(-1) ?? ""}`,
    typeFlag: "x",
    mode: 0o644,
    sizeBytes: content.length,
    linkTarget: "",
    deviceMajor: 0,
    deviceMinor: 0,
  });
  return Buffer.concat([extended, content, Buffer.alloc(paddingBytes(content.length)), own]);
}

/** Zeros that follow content of this length, up to a whole block. */
export function paddingBytes(sizeBytes: number): number {
  return (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
}

const LARGEST_UID = 0o7777777;
const LARGEST_SIZE = 0o77777777777;

function recordsBeyondUstar(header: TarHeader): PaxRecord[] {
  const records: PaxRecord[] = [];
  const texts: PaxRecord[] = [];
  const text = (key: string, value: ByteText, roomBytes: number): void => {
    if (value.length > roomBytes || (!isAscii(value) && isPlainText(value))) texts.push({ key, value });
  };
  text("path", header.path, 100);
  text("linkpath", header.linkTarget, 100);
  text("uname", header.userName, 32);
  text("gname", header.groupName, 32);
  // Values are UTF-8, which bsdtar composes (NFC), unless the archive says otherwise.
  const isBinary = ({ value }: PaxRecord): boolean => typeof value === "string" && !isPlainText(value);
  if (texts.some(isBinary) || header.records.some(isBinary)) records.push({ key: "hdrcharset", value: "BINARY" });
  records.push(...texts);
  if (header.uid > LARGEST_UID) records.push({ key: "uid", value: String(header.uid) });
  if (header.gid > LARGEST_UID) records.push({ key: "gid", value: String(header.gid) });
  if (header.sizeBytes > LARGEST_SIZE) records.push({ key: "size", value: String(header.sizeBytes) });
  const { mtimeSeconds, mtimeNanoseconds } = header;
  if (mtimeNanoseconds !== 0 || mtimeSeconds < 0 || mtimeSeconds > LARGEST_SIZE) {
    records.push({ key: "mtime", value: decimalTime(mtimeSeconds, mtimeNanoseconds) });
  }
  return records;
}

/** Seconds with fraction; before 1970 with a minus sign that stands for both. */
function decimalTime(seconds: number, nanoseconds: number): string {
  const negative = seconds < 0;
  const whole = negative && nanoseconds > 0 ? -seconds - 1 : Math.abs(seconds);
  const rest = negative && nanoseconds > 0 ? 1_000_000_000 - nanoseconds : nanoseconds;
  const fraction = rest === 0 ? "" : `.${String(rest).padStart(9, "0").replace(/0+$/, "")}`;
  return `${negative ? "-" : ""}${whole}${fraction}`;
}

function isAscii(text: ByteText): boolean {
  return !/[^\u0001-\u007f]/.test(text);
}

/** Text that means the same to every program: UTF-8, composed. What is not stands in headers as the bytes it is. */
function isPlainText(text: ByteText): boolean {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.from(bytes.utf8Slice().normalize("NFC"), "utf8").equals(bytes);
}

/** "LENGTH KEY=VALUE\n", where LENGTH counts the whole record with its own digits. */
function encodeRecord({ key, value }: PaxRecord): Buffer {
  const valueBytes = typeof value === "string" ? Buffer.from(value, "latin1") : value;
  const rest = Buffer.byteLength(key, "latin1") + valueBytes.length + 3;
  let length = rest + String(rest).length;
  if (String(length).length > String(rest).length) length = rest + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`, "latin1"), valueBytes, Buffer.from("\n")]);
}

function ustarBlock(header: TarHeader): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.latin1Write(header.path.slice(0, 100), 0);
  octal(block, 100, 8, header.mode);
  octal(block, 108, 8, Math.min(header.uid, LARGEST_UID));
  octal(block, 116, 8, Math.min(header.gid, LARGEST_UID));
  octal(block, 124, 12, Math.min(header.sizeBytes, LARGEST_SIZE));
  octal(block, 136, 12, Math.min(Math.max(header.mtimeSeconds, 0), LARGEST_SIZE));
  block.latin1Write(header.typeFlag, 156);
  block.latin1Write(header.linkTarget.slice(0, 100), 157);
  block.latin1Write("ustar\x0000", 257);
  block.latin1Write(header.userName.slice(0, 31), 265);
  block.latin1Write(header.groupName.slice(0, 31), 297);
  octal(block, 329, 8, header.deviceMajor);
  octal(block, 337, 8, header.deviceMinor);
  block.fill(" ", 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.latin1Write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

function octal(block: Buffer, at: number, width: number, value: number): void {
  block.latin1Write(value.toString(8).padStart(width - 1, "0"), at);
}
