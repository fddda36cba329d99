/**
 * For tests: milliseconds of processor time that this process has used. What a piece of work costs is to be told by this
 * and not by a clock, which also counts the time in which others had the processor.
 */
export function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
