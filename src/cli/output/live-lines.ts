/** Lines at the bottom of a terminal that are drawn anew in place, while ordinary lines scroll by above them. */
import { textWidth } from "./text-width.ts";

export interface LiveLines {
  /** Shows these instead of what was there; none takes them away. */
  show(lines: readonly string[]): void;
  /** Takes the lines away while something is printed, and puts them back below it. */
  around(print: () => void): void;
}

// A terminal on a serial line does not know how wide it is.
const USUAL_COLUMNS = 80;

/** Where there is no terminal nothing is ever shown. */
export function createLiveLines(terminal: NodeJS.WriteStream, enabled: boolean): LiveLines {
  let shown: readonly string[] = [];

  function erase(): string {
    return shown.length === 0 ? "" : `\r\x1b[${shown.length - 1 === 0 ? "" : `${shown.length - 1}A\x1b[`}J`;
  }

  function draw(lines: readonly string[]): string {
    return lines.map((line) => truncate(line, (terminal.columns || USUAL_COLUMNS) - 1)).join("\n");
  }

  if (!enabled || !terminal.isTTY) return { show: () => undefined, around: (print) => print() };
  return {
    show(lines) {
      const text = erase() + draw(lines);
      shown = lines;
      if (text !== "") terminal.write(text);
    },
    around(print) {
      const lines = shown;
      if (lines.length > 0) terminal.write(erase());
      shown = [];
      print();
      if (lines.length > 0) terminal.write(draw(lines));
      shown = lines;
    },
  };
}

/** Cuts a line so that it takes at most `columns` on a terminal, with `…` where something is missing. */
export function truncate(line: string, columns: number): string {
  if (textWidth(line) <= columns) return line;
  let out = "";
  let width = 0;
  for (const { segment } of new Intl.Segmenter().segment(line)) {
    width += textWidth(segment);
    if (width > columns - 1) break;
    out += segment;
  }
  return `${out}…`;
}
