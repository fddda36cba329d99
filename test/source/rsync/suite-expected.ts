/** What is expected of a test of rsync's suite where it is not that it passes; after the colon, why. */
export const EXPECTED: Readonly<Record<string, { readonly fetch?: string; readonly push?: string }>> = {};
