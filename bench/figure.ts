/** One measured figure; with a goal it is met or missed, without one it informs. */
export interface Figure {
  readonly section: string;
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The largest value that meets the goal. */
  readonly goal?: number;
}

/** Makes the figures of one section. */
export function section(
  title: string,
): (name: string, value: number, unit: string, goal?: number) => Figure {
  return (name, value, unit, goal) => ({
    section: title,
    name,
    value,
    unit,
    ...(goal === undefined ? {} : { goal }),
  });
}

export function isMissed({ goal, value }: Figure): boolean {
  // NaN is a miss too: a figure that could not be taken has not met its goal.
  return goal !== undefined && !(value <= goal);
}

function shown(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(Math.abs(value) < 10 ? 2 : 1);
}

/** A table per section, goals and verdicts in the last columns. */
export function table(figures: readonly Figure[]): string {
  const width = Math.max(...figures.map(({ name }) => name.length));
  const lines: string[] = [];
  let title = '';
  for (const figure of figures) {
    if (figure.section !== title) {
      title = figure.section;
      lines.push('', title);
    }
    const { name, value, unit, goal } = figure;
    const verdict =
      goal === undefined
        ? ''
        : `goal ≤ ${Math.round(goal * 100) / 100}  ${isMissed(figure) ? 'MISSED' : 'met'}`;
    lines.push(
      `  ${name.padEnd(width)}  ${shown(value).padStart(9)} ${unit.padEnd(8)} ${verdict}`.trimEnd(),
    );
  }
  return lines.slice(1).join('\n');
}
