import assert from "node:assert/strict";
import { test } from "node:test";
import { formatTable } from "./table.ts";

test("aligns columns by the places that text takes on a terminal, and lets a row be several lines tall", () => {
  const rows = [
    { name: "日本", size: "1 B", paths: ["/a", "/long"] },
    { name: "x", size: "100 B", paths: [] },
  ];
  assert.deepEqual(
    formatTable(
      [
        { title: "Name", cell: ({ name }) => name },
        { title: "Paths", cell: ({ paths }) => paths },
        { title: "Size", cell: ({ size }) => size, align: "right" },
      ],
      rows,
      "2 rows",
    ),
    [
      "Name  Paths   Size",
      "------------------",
      "日本  /a       1 B",
      "      /long",
      "x            100 B",
      "------------------",
      "2 rows",
    ],
  );
});
