import { parseArgs } from 'node:util';
import { EXIT_FAILED, EXIT_OK, UsageError } from '../command.ts';
import { reportText, type VerifyReport } from './findings.ts';
import { verifyPath } from './single.ts';

export { writeContents } from './contents.ts';
export { verifyFolder } from './folder.ts';
export { verifyPath } from './single.ts';

interface Options {
  readonly paths: readonly string[];
  readonly trustDir: string | undefined;
  readonly finalFile: string | undefined;
  readonly json: boolean;
}

function parse(argv: readonly string[]): Options {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      options: {
        trust: { type: 'string' },
        final: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
      allowPositionals: true,
      strict: true,
    });
    return {
      paths: positionals,
      trustDir: values.trust,
      finalFile: values.final,
      json: values.json,
    };
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** Several artefacts as one report; with more than one, paths begin with the one they were given as. */
function merge(reports: readonly (readonly [path: string, report: VerifyReport])[]): VerifyReport {
  const [first] = reports;
  if (first && reports.length === 1) return first[1];
  const checked: Record<string, number> = {};
  for (const [, report] of reports) {
    for (const [kind, n] of Object.entries(report.checked))
      checked[kind] = (checked[kind] ?? 0) + n;
  }
  const proven = reports.flatMap(([, report]) => report.proven ?? []);
  return {
    ok: reports.every(([, report]) => report.ok),
    checked,
    faults: reports.flatMap(([path, report]) =>
      report.faults.map((fault) => ({ ...fault, path: `${path}: ${fault.path}` })),
    ),
    liable: reports.flatMap(([, report]) => report.liable),
    ...(proven.length === 0 ? {} : { proven }),
  };
}

/** Amounts leave as decimal strings: JSON numbers are not exact above 2⁵³. */
const exact = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString() : value;

/**
 * `kiri verify PATH… [--trust DIR] [--final FILE] [--json]`: checks artefacts offline and names what is wrong.
 * @param print where the report goes; standard output by default
 * @returns 0 if everything holds, 1 if not
 * @throws UsageError for a wrong option or a path with no artefact
 */
export async function runVerify(
  argv: readonly string[],
  print: (text: string) => unknown = (text) => process.stdout.write(text),
): Promise<number> {
  const { paths, trustDir, finalFile, json } = parse(argv);
  if (paths.length === 0) throw new UsageError('name at least one artefact or output folder');
  const reports: (readonly [string, VerifyReport])[] = [];
  const nowS = Math.floor(Date.now() / 1000);
  if (finalFile !== undefined && paths.length > 1) {
    throw new UsageError('--final goes with one pre-file');
  }
  const options = { nowS, finalFile, ...(trustDir === undefined ? {} : { trustDir }) };
  for (const path of paths) reports.push([path, await verifyPath(path, options)]);
  const report = merge(reports);
  print(json ? `${JSON.stringify(report, exact)}\n` : reportText(report));
  return report.ok ? EXIT_OK : EXIT_FAILED;
}
