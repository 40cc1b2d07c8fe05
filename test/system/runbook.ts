/** docs/operating.md as a program: the commands under a heading, and what they must print. */
import { readFileSync } from 'node:fs';

const DOCUMENT = new URL('../../../docs/operating.md', import.meta.url);

export interface Step {
  /** Shell commands, as they stand in the document. */
  readonly commands: string;
  /** Lines that must come out, in this order; `…` stands for anything. */
  readonly expected: readonly string[];
}

/** The fenced `sh` blocks below a heading; a `text` block behind one is what it prints. */
export function stepsOf(heading: string): Step[] {
  const document = readFileSync(DOCUMENT, 'utf8');
  const at = document.indexOf(`\n### ${heading}\n`);
  if (at < 0) throw new Error(`docs/operating.md has no heading "${heading}"`);
  const [section = ''] = document.slice(at + 5 + heading.length).split(/\n#{1,3} /);
  const steps: { commands: string; expected: string[] }[] = [];
  for (const [, kind, text = ''] of section.matchAll(/```(sh|text)\n(.*?)```/gs)) {
    if (kind === 'sh') steps.push({ commands: text, expected: [] });
    else steps.at(-1)?.expected.push(...text.trimEnd().split('\n'));
  }
  return steps;
}

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** The first expected line that is not there, in order; undefined when all are. */
export function missingLine(output: string, expected: readonly string[]): string | undefined {
  const lines = output.split('\n');
  let from = 0;
  for (const line of expected) {
    const pattern = new RegExp(`^${line.split('…').map(escaped).join('.*')}$`);
    const found = lines.findIndex((one, at) => at >= from && pattern.test(one));
    if (found < 0) return line;
    from = found + 1;
  }
  return undefined;
}
