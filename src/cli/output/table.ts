import { printableLine } from "./printable.ts";
import { textWidth } from "./text-width.ts";

export interface Column<Row> {
  readonly title: string;
  /** Several lines make the row taller. */
  readonly cell: (row: Row) => string | readonly string[];
  readonly align?: "left" | "right";
}

/**
 * A table with a line under its head, and a line and a note below, as restic prints it. Columns are as wide as they must
 * be, counted in places on a terminal; lines are never cut, so that nothing is missing where it is read by a program.
 */
export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], note?: string): string[] {
  const cells = rows.map((row) => columns.map(({ cell }) => [cell(row)].flat().map(printableLine)));
  const widths = columns.map(({ title }, index) =>
    Math.max(textWidth(title), ...cells.flatMap((row) => row[index].map((line) => textWidth(line)))),
  );
  const layOut = (texts: readonly string[]) =>
    texts
      .map((text, index) => {
        const padding = " ".repeat(widths[index] - textWidth(text));
        return columns[index].align === "right" ? padding + text : text + padding;
      })
      .join("  ")
      .trimEnd();
  const lines = cells.flatMap((row) => {
    const height = Math.max(1, ...row.map((cell) => cell.length));
    return Array.from({ length: height }, (_, line) => layOut(row.map((cell) => cell[line] ?? "")));
  });
  const head = layOut(columns.map(({ title }) => title));
  const rule = "-".repeat(Math.max(textWidth(head), ...lines.map((line) => textWidth(line))));
  return [head, rule, ...lines, rule, ...(note === undefined ? [] : [note])];
}
