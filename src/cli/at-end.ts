/** What has to be closed when a command has ended, so that the program can: connections, above all. */
const closers: (() => Promise<void>)[] = [];

export function closeAtEnd(close: () => Promise<void>): void {
  closers.push(close);
}

/** What was opened for the whole of the command: a connection to storage that stays open would keep the program for ever. */
export function untilEnd<Opened extends { close(): Promise<void> }>(opened: Opened): Opened {
  closeAtEnd(() => opened.close());
  return opened;
}

/** The last that was opened first. What fails on the way out fails for nobody. */
export async function closeAll(): Promise<void> {
  for (const close of closers.splice(0).toReversed()) await close().catch(() => undefined);
}
