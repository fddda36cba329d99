/** Every decoder of bytes from the other end of a wire, with valid inputs to start from. */
import { decodeHostHeader, encodeHostHeader } from "../../src/server/host-listener.ts";
import { readTicket, writeTicket } from "../../src/server/session-ticket.ts";
import { wireReader } from "../../src/wire/bytes.ts";
import { decodeFailure, encodeFailure } from "../../src/wire/failure.ts";
import { decodeAgentHello, decodeServerHello, encodeHello } from "../../src/wire/hello.ts";
import { applyBuckets, bucketHashes, buildListing, encodeBucketCount, objectsOf } from "../../src/wire/listing.ts";
import { createMessageDecoder, encodeMessage, type Message, PREFACE } from "../../src/wire/message.ts";
import {
  decodeGetRequest,
  decodeHeldAnswer,
  decodeLength,
  decodeListRequest,
  decodeNameRequest,
  decodePutAnswer,
  decodePutRequest,
  decodeStatAnswer,
  encodeGetRequest,
  encodeHeldAnswer,
  encodeLength,
  encodeListRequest,
  encodeNameRequest,
  encodePutAnswer,
  encodePutRequest,
  encodeStatAnswer,
} from "../../src/wire/storage-calls.ts";
import type { FuzzTarget } from "./fuzz.ts";

const id = "3f".repeat(32);
const failure = { code: "storage", message: "the disc is full", hint: "make room" };
const messages: readonly Message[] = [
  { kind: "hello", json: Buffer.from("{}") },
  { kind: "request", id: 1, method: 4, hasContent: true, body: Buffer.from("body") },
  { kind: "answer", id: 1, body: Buffer.from([1, 2]) },
  { kind: "data", id: 1, bytes: Buffer.alloc(300, 7) },
  { kind: "end", id: 1 },
  { kind: "failure", id: 2, failure },
  { kind: "credit", id: 3, bytes: 70_000 },
  { kind: "cancel", id: 4 },
  { kind: "ping" },
  { kind: "pong" },
  { kind: "goodbye", failure },
];
const version = { major: 1, minor: 0 };
const objects = Array.from({ length: 600 }, (_, number) => ({
  name: `packs/${id.slice(0, 2)}/${id.slice(0, 60)}${number.toString(16).padStart(4, "0")}`,
  sizeBytes: 16_000_000 + number,
  modifiedMs: 1_760_000_000_000,
}));
const listing = buildListing("packs/", objects);
const small = buildListing("", [...objects.slice(0, 2), { name: "config", sizeBytes: 200, modifiedMs: 1 }]);
const ticketKey = Buffer.alloc(32, 5);

export const WIRE_FUZZ_TARGETS: readonly FuzzTarget[] = [
  {
    name: "messages of a connection",
    seeds: [Buffer.concat([PREFACE, ...messages.flatMap(encodeMessage)])],
    decode(bytes) {
      // In two pieces, so that a cut may fall anywhere.
      const decoder = createMessageDecoder();
      const middle = bytes.length >> 1;
      decoder.feed(bytes.subarray(0, middle));
      decoder.feed(bytes.subarray(middle));
    },
  },
  {
    name: "hello of an agent",
    seeds: [
      encodeHello({ version, program: "holdfast 1", purpose: "backup", resume: "AAAA" }),
      encodeHello({ version: { major: 1, minor: 1 }, program: "holdfast 1", purpose: "ask" }),
    ],
    decode: decodeAgentHello,
  },
  {
    name: "hello of a server",
    seeds: [
      encodeHello({ version, program: "holdfast 1", host: "web1", ticket: "AAAA", startedMs: 1, nowMs: 2 }),
      encodeHello({
        version: { major: 1, minor: 1 },
        program: "holdfast 1",
        host: "web1",
        ticket: "",
        startedMs: 1,
        nowMs: 2,
        nextRunMs: 3,
        wanted: true,
        policy: {
          schedule: "every 4h",
          sources: ["/srv", "/home"],
          excludes: ["*.tmp", "!keep.tmp"],
          uploadBytesPerSecond: 4096,
          downloadBytesPerSecond: 8192,
        },
      }),
    ],
    decode: decodeServerHello,
  },
  { name: "failure", seeds: [encodeFailure(failure)], decode: (bytes) => decodeFailure(wireReader(bytes)) },
  { name: "name request", seeds: [encodeNameRequest(`index/${id}`)], decode: decodeNameRequest },
  {
    name: "get request",
    seeds: [
      encodeGetRequest({ name: `index/${id}`, range: undefined }),
      encodeGetRequest({ name: `index/${id}`, range: { offset: 2 ** 40, length: 300 } }),
    ],
    decode: decodeGetRequest,
  },
  {
    name: "put request",
    seeds: [encodePutRequest({ name: id, sizeBytes: 2 ** 24, offset: 99 })],
    decode: decodePutRequest,
  },
  {
    name: "list request",
    seeds: [encodeListRequest({ prefix: "packs/", held: bucketHashes(listing) })],
    decode: decodeListRequest,
  },
  { name: "length", seeds: [encodeLength(2 ** 30)], decode: (bytes) => decodeLength(bytes, 2 ** 40) },
  {
    name: "stat answer",
    seeds: [encodeStatAnswer(undefined), encodeStatAnswer({ sizeBytes: 2 ** 33, modifiedMs: 1_760_000_000_000 })],
    decode: decodeStatAnswer,
  },
  {
    name: "put answer",
    seeds: [encodePutAnswer({ stored: true, modifiedMs: 1_760_000_000_000 })],
    decode: decodePutAnswer,
  },
  { name: "held answer", seeds: [encodeHeldAnswer({ stored: false, bytes: 70_000 })], decode: decodeHeldAnswer },
  ...[listing, small].map((seed): FuzzTarget => ({
    name: `listing in ${seed.buckets.length} parts`,
    seeds: [
      Buffer.concat(
        seed.buckets.flatMap((bucket, number) => [Buffer.from([number]), encodeLength(bucket.length), bucket]),
      ),
    ],
    decode: (bytes) => objectsOf(applyBuckets(seed.prefix, undefined, encodeBucketCount(seed), bytes)),
    memoryLimitBytes: 8 * 1024 * 1024,
  })),
  {
    name: "line before a host's connection",
    seeds: [Buffer.from(encodeHostHeader({ host: "web1", from: "192.0.2.1 50000 192.0.2.2 22" }))],
    decode: decodeHostHeader,
  },
  {
    name: "session ticket",
    seeds: [Buffer.from(writeTicket(ticketKey, "web1", { sessionId: Buffer.alloc(16, 1), startedMs: 5 }))],
    decode: (bytes) => readTicket(ticketKey, "web1", Buffer.from(bytes).toString("latin1")),
  },
];
