import type { HostCatalogue } from "./host-catalogue.ts";
import type { Storage } from "../storage/storage.ts";
import type { HostPolicy } from "../wire/hello.ts";

/** PORT: what a session needs to know of hosts, accounts and room. The fleet keeps it. */
export interface HostDirectory {
  /** `RefusedError` where there is no such host, or it may not connect: it waits for approval, or is put on hold. */
  admitHost(host: string): Promise<AdmittedHost>;
  /** A host wants to know when it shall save. */
  asked?(host: string): Promise<{ readonly nextRunMs: number; readonly wanted: boolean }>;
  /** A host was not let in, or was refused what it wanted of a session before that began. */
  refused?(host: string, error: unknown): void;
}

export interface AdmittedHost {
  readonly name: string;
  /** Ed25519 keys that were approved for it, 32 bytes each: the newest last. */
  readonly signingKeys: readonly Uint8Array[];
  /** A write-only host gets no frames, as it could not open them. */
  readonly mode: "full" | "write-only";
  /** Between the times of two snapshots. */
  readonly minimumIntervalMs: number;
  /** What it is told to save. */
  readonly policy?: HostPolicy | undefined;
  readonly account: Account;
}

/** Hosts that share a repository. One object for all sessions of the account. */
export interface Account {
  readonly storage: Storage;
  /** 16 bytes. */
  readonly repositoryId: Uint8Array;
  /** Opens blob lists: the server has it in either key mode. */
  readonly indexKey: Uint8Array;
  readonly catalogue: HostCatalogue;
  /** 32 secret bytes that outlive the server's process: tickets of sessions are made with them. */
  readonly ticketKey: Uint8Array;
  /**
   * Asked before content is taken. `RefusedError` where quota or space do not allow it. What it gives is called when the
   * bytes are stored or dropped, with how many have come.
   */
  readonly admit: (host: string, bytes: number) => Promise<(arrivedBytes: number) => void>;
  /**
   * Where the server can open frames: throws `RefusedError` or `DamagedError` where blobs are not what their ids say. The
   * bytes may go to another thread and must not be used any more; those that it gives are the same.
   */
  readonly verifyPack?: ((pack: PackToVerify) => Promise<Buffer>) | undefined;
}

export interface PackToVerify {
  readonly id: string;
  readonly bytes: Buffer;
}
