/** What has to be closed when a command has ended, so that the program can: connections, above all. */
const closers: (() => Promise<void>)[] = [];

export function closeAtEnd(close: () => Promise<void>): void {
  closers.push(close);
}

/** The last that was opened first. What fails on the way out fails for nobody. */
export async function closeAll(): Promise<void> {
  for (const close of closers.splice(0).toReversed()) await close().catch(() => undefined);
}
