// Methods of Node's Buffer that @types/node leaves out: what `toString("latin1")` and `write(…, "latin1")` call in the
// end, without the look-up of the encoding's name that costs as much as the work itself on short names.
interface Buffer {
  latin1Slice(start?: number, end?: number): string;
  utf8Slice(start?: number, end?: number): string;
  latin1Write(text: string, offset?: number, length?: number): number;
}
