import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KiriError } from '../../protocol/kiri-error.ts';
import { hashFile } from '../verify/artefacts.ts';

/** Of the installed package; this file runs two folders below `build/`. */
export const PACKAGE_ROOT: string = fileURLToPath(new URL('../../../', import.meta.url));
const PARTS: readonly string[] = ['bin', 'build'];
/** Not part of what verifies. */
const ASIDE = /^build\/(?:test|bench)\//;

function filesIn(folder: string): readonly string[] {
  return readdirSync(join(PACKAGE_ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(PACKAGE_ROOT, join(entry.parentPath, entry.name)))
    .map((path) => path.split(sep).join('/'));
}

/** `<sha256>  <path>` of each file of the running program, sorted by path. @throws KiriError PROGRAM_UNREADABLE */
export function programList(): string {
  try {
    const paths = [...PARTS.flatMap(filesIn), 'package.json'].filter((path) => !ASIDE.test(path));
    const sorted = paths.toSorted((a, b) => (a < b ? -1 : 1));
    return sorted.map((path) => `${hashFile(join(PACKAGE_ROOT, path))}  ${path}\n`).join('');
  } catch (cause) {
    throw new KiriError('PROGRAM_UNREADABLE', `the program in ${PACKAGE_ROOT} cannot be read`, {
      cause,
    });
  }
}

interface PackageFacts {
  readonly name: string;
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

/** Name, version and the exact versions of what it depends on. */
export function packageFacts(): PackageFacts {
  const text = readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8');
  const { name, version, dependencies } = JSON.parse(text) as PackageFacts;
  return { name, version, dependencies };
}
