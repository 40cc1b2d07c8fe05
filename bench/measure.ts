/** CPU microseconds of this process so far: user and system, all threads. */
export function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** The value that `part` of the sorted values are at or below; part 0.5 is the median. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = Math.max(0, Math.ceil(sorted.length * part) - 1);
  return sorted[at] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >>> 1;
  if (sorted.length % 2 === 1) return sorted[middle]!;
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** CPU microseconds of one call of each task, median over interleaved rounds after a warm-up. */
export function cpuPerCall(
  tasks: Readonly<Record<string, (count: number) => void>>,
  { rounds, calls }: { readonly rounds: number; readonly calls: number },
): Record<string, number> {
  const taken = new Map(Object.keys(tasks).map((name) => [name, [] as number[]]));
  for (const task of Object.values(tasks)) task(calls);
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, task] of Object.entries(tasks)) {
      const before = cpuMicros();
      task(calls);
      taken.get(name)!.push((cpuMicros() - before) / calls);
    }
  }
  return Object.fromEntries([...taken].map(([name, values]) => [name, median(values)]));
}
