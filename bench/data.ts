/** Makes or fetches the data that the benchmarks work on. Each set is made once and kept. */
import { createCipheriv, createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import { seededRandom } from "../src/storage/testing/random.ts";
import { outputOf, run, shell } from "./measure.ts";

const MEBIBYTE = 1024 * 1024;

export interface DataOptions {
  /** Where data sets are kept: on a real disc, with some 12 GiB free for all of them. */
  readonly folder: string;
  /** A small part of each, for a first impression. */
  readonly quick: boolean;
}

/** Debian's source of the kernel, unpacked. Quick: four of its folders. */
export function kernelSource(options: DataOptions): Promise<string> {
  return once(options, "kernel", async (folder) => {
    const archive = await kernelArchive(options.folder);
    const parts = options.quick ? ["fs", "net", "kernel", "mm"].map((part) => `linux-source-6.1/${part}`) : [];
    mkdirSync(folder);
    await run({ argv: ["tar", "-xf", archive, "-C", folder, ...parts] });
  });
}

async function kernelArchive(folder: string): Promise<string> {
  const name = "usr/src/linux-source-6.1.tar.xz";
  if (existsSync(`/${name}`)) return `/${name}`;
  const unpacked = path.join(folder, "linux-source-package");
  if (!existsSync(path.join(unpacked, name))) {
    process.stderr.write("Fetching linux-source-6.1 from Debian…\n");
    await run(shell('mkdir -p "$1" && cd "$1" && apt-get download linux-source-6.1', unpacked));
    await run(shell('cd "$1" && dpkg-deb -x linux-source-6.1_*.deb . && rm linux-source-6.1_*.deb', unpacked));
  }
  return path.join(unpacked, name);
}

/** An ext4 file system filled with this machine's own programs and libraries. */
export function fileSystemImage(options: DataOptions): Promise<string> {
  const contentMebibytes = options.quick ? 200 : 2200;
  return once(options, "image", async (folder) => {
    mkdirSync(folder);
    const content = path.join(folder, "content");
    mkdirSync(content);
    const listing = await outputOf(["find", "/usr/bin", "/usr/share", "/usr/lib", "-mindepth", "1", "-maxdepth", "1"]);
    const chosen: string[] = [];
    let leftKibibytes = contentMebibytes * 1024;
    for (const part of listing.trim().split("\n").toSorted(byHash)) {
      const sizeKibibytes = Number.parseInt(await outputOf(["du", "-skx", part]), 10);
      if (sizeKibibytes > leftKibibytes) continue;
      leftKibibytes -= sizeKibibytes;
      chosen.push(part.slice(1));
    }
    await run(shell('to=$1; shift; tar -cf - -C / "$@" | tar -xf - -C "$to"', content, ...chosen));
    const image = path.join(folder, "machine.img");
    await run({ argv: ["mke2fs", "-q", "-t", "ext4", "-d", content, image, `${Math.round(contentMebibytes * 1.3)}M`] });
    rmSync(content, { recursive: true });
  });
}

/** Mixes programs, libraries and texts, in the same order each time. */
function byHash(a: string, b: string): number {
  return Buffer.compare(createHash("sha256").update(a).digest(), createHash("sha256").update(b).digest());
}

/** What `pg_dump` writes of a shop: customers, products, orders and a log of events. */
export function sqlDump(options: DataOptions): Promise<string> {
  const sizeBytes = (options.quick ? 64 : 1536) * MEBIBYTE;
  return once(options, "sql", async (folder) => {
    mkdirSync(folder);
    const file = await open(path.join(folder, "shop.sql"), "wx");
    let written = 0;
    for (const lines of sqlLines(sizeBytes)) {
      await file.write(lines);
      written += lines.length;
      if (written >= sizeBytes) break;
    }
    await file.close();
  });
}

/** Bytes that no program can make smaller. */
export function incompressible(options: DataOptions): Promise<string> {
  const sizeMebibytes = options.quick ? 128 : 1024;
  return once(options, "random", async (folder) => {
    mkdirSync(folder);
    const stream = createCipheriv(
      "aes-256-ctr",
      createHash("sha256").update("incompressible").digest(),
      Buffer.alloc(16),
    );
    const file = await open(path.join(folder, "random.bin"), "wx");
    const zeros = Buffer.alloc(MEBIBYTE);
    for (let index = 0; index < sizeMebibytes; index++) await file.write(stream.update(zeros));
    await file.close();
  });
}

/** `count` small text files, a hundred to a folder, 200 to 4,000 bytes each. */
export function smallFiles(options: DataOptions, count: number): Promise<string> {
  return once(options, `small-${count}`, (folder) => {
    const random = seededRandom(count).below;
    for (let index = 0; index < count; index++) {
      const inner = path.join(folder, String(Math.floor(index / 10_000)), String(Math.floor(index / 100) % 100));
      if (index % 100 === 0) mkdirSync(inner, { recursive: true });
      let text = `file ${index}\n`;
      const length = 200 + random(3800);
      while (text.length < length) text += `${WORDS[random(WORDS.length)]} ${random(100_000)}\n`;
      writeFileSync(path.join(inner, `file-${index}.txt`), text);
    }
    return Promise.resolve();
  });
}

/** Makes a data set under a passing name, so that one that was interrupted is made again. */
async function once(options: DataOptions, name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = path.join(options.folder, options.quick ? `quick-${name}` : name);
  if (existsSync(folder)) return folder;
  process.stderr.write(`Making data: ${name}…\n`);
  const unfinished = `${folder}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(options.folder, { recursive: true });
  await make(unfinished);
  renameSync(unfinished, folder);
  return folder;
}

const WORDS = (
  "time year people way day man thing woman life child world school state family student group country problem hand " +
  "part place case week company system program question work government number night point home water room mother " +
  "area money story fact month lot right study book eye job word business issue side kind head house service friend"
).split(" ");

function* sqlLines(sizeBytes: number): Generator<string> {
  const random = seededRandom(7).below;
  const words = (count: number): string => Array.from({ length: count }, () => WORDS[random(WORDS.length)]).join(" ");
  const time = (): string =>
    `2026-${two(1 + random(11))}-${two(1 + random(28))} ${two(random(24))}:${two(random(60))}:${two(random(60))}.${random(1_000_000)}`;
  const tables: readonly (readonly [header: string, share: number, row: (id: number) => string])[] = [
    [
      "COPY public.customers (id, name, email, street, city, created_at, note) FROM stdin;",
      0.15,
      (id) =>
        `${id}\t${words(2)}\t${WORDS[random(WORDS.length)]}.${random(1e6)}@example.com\t${words(1)} street ${random(300)}\t${words(1)}\t${time()}\t\\N`,
    ],
    [
      "COPY public.products (id, sku, title, description, price_cents, stock) FROM stdin;",
      0.1,
      (id) => `${id}\tSKU-${random(1e8)}\t${words(4)}\t${words(20 + random(40))}\t${random(100_000)}\t${random(500)}`,
    ],
    [
      "COPY public.orders (id, customer_id, product_id, quantity, state, ordered_at, shipped_at) FROM stdin;",
      0.25,
      (id) =>
        `${id}\t${random(2_000_000)}\t${random(200_000)}\t${1 + random(5)}\t${["new", "paid", "sent"][random(3)]}\t${time()}\t${time()}`,
    ],
    [
      "COPY public.events (id, request, session, address, path, payload, at) FROM stdin;",
      0.5,
      (id) =>
        `${id}\t${hex(random, 4)}\t${hex(random, 2)}\t10.${random(256)}.${random(256)}.${random(256)}\t/${words(2).replace(" ", "/")}/${random(10_000)}\t{"agent": "Mozilla/5.0 (X11; Linux x86_64)", "milliseconds": ${random(900)}, "words": "${words(3)}"}\t${time()}`,
    ],
  ];
  yield "--\n-- PostgreSQL database dump\n--\nSET statement_timeout = 0;\nSET client_encoding = 'UTF8';\n\n";
  for (const [header, share, row] of tables) {
    yield `${header}\n`;
    let id = 1;
    for (let written = 0; written < sizeBytes * share;) {
      let lines = "";
      for (let count = 0; count < 2000; count++) lines += `${row(id++)}\n`;
      written += lines.length;
      yield lines;
    }
    yield "\\.\n\n";
  }
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}

function hex(random: (limit: number) => number, words: number): string {
  return Array.from({ length: words }, () => random(0xffffffff).toString(16).padStart(8, "0")).join("");
}
