import t from 'tap';
import fc from 'fast-check';
import { nobleVerifier } from '../../../../identity/core/noble-signatures.ts';
import { utf8ToBytes } from '../../../../protocol/bytes.ts';
import { verifySettlement } from '../../../../sync/clearing/core/verify-settlement.ts';
import type { SettlementArtefacts } from '../../../../sync/clearing/core/verify-settlement.ts';
import { newSigner } from '../../../identity/fixture.ts';
import { NOON_S, anchors, history, inMemory, signer } from '../sample.ts';

const trust = { verifier: nobleVerifier(), clearings: [signer.key] };

/** The artefacts of a real cut, by their names. */
const artefacts = async (): Promise<Map<string, Uint8Array>> => {
  const { service } = await inMemory();
  await service.ingestBatch(history(), NOON_S);
  const { files } = await service.cut(NOON_S, anchors, true);
  const name = files[0]?.fileName.replace('.ipm', '') ?? '';
  const rebuilt = await service.rebuild(name);
  await service.close();
  return new Map(
    rebuilt.map(({ path, bytes }) => [
      path.split('/')[1] ?? '',
      typeof bytes === 'string' ? utf8ToBytes(bytes) : bytes,
    ]),
  );
};

const bundle = (files: ReadonlyMap<string, Uint8Array>): SettlementArtefacts => {
  const find = (end: string): [string, Uint8Array] =>
    [...files].find(([name]) => name.endsWith(end)) ?? ['', new Uint8Array(0)];
  const [fileName, file] = find('.ipm');
  return {
    fileName,
    file,
    manifest: find('.manifest')[1],
    manifestView: Buffer.from(find('.manifest.json')[1]).toString(),
    lines: Buffer.from(find('.lines.jsonl')[1]).toString(),
    evidence: (id) => files.get(`${id}.cbor`),
  };
};

t.test('a cut as it was written has no findings', async (t) => {
  const files = await artefacts();
  const report = verifySettlement(bundle(files), trust);
  t.same(report.findings, []);
  t.same(report.lines?.anchors, anchors);
  t.equal(report.manifest?.records, (report.lines?.lines.length ?? 0) + 2);
});

t.test('any changed byte of any artefact is found, and the artefact named', async (t) => {
  const files = await artefacts();
  const names = [...files.keys()];
  const kinds: readonly [RegExp, string][] = [
    [/\.ipm$/, 'settlement file'],
    [/\.lines\.jsonl$/, 'lines'],
    [/\.manifest\.json$/, 'manifest view'],
    [/\.manifest$/, 'manifest'],
    [/\.cbor$/, 'evidence'],
  ];
  fc.assert(
    fc.property(
      fc.nat(names.length - 1),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (which, at, flip) => {
        const name = names[which] as string;
        const bytes = (files.get(name) as Uint8Array).slice();
        const place = at % bytes.length;
        bytes[place] = (bytes[place] as number) ^ flip;
        const { findings } = verifySettlement(bundle(new Map([...files, [name, bytes]])), trust);
        const kind = kinds.find(([pattern]) => pattern.test(name))?.[1];
        if (!findings.some((one) => one.artefact === kind)) {
          throw new Error(`byte ${place} of ${name} changed unnoticed`);
        }
      },
    ),
    { numRuns: 150 },
  );
  t.pass('150 changes found');
});

t.test('a missing evidence, a foreign signer and a renamed file are found', async (t) => {
  const files = await artefacts();
  const good = bundle(files);
  const artefactsOf = (changed: Partial<SettlementArtefacts>): string[] =>
    verifySettlement({ ...good, ...changed }, trust).findings.map((one) => one.artefact);
  t.ok(artefactsOf({ evidence: () => undefined }).every((name) => name === 'evidence'));
  t.same(artefactsOf({ fileName: 'KIRI.other.ipm' }), ['manifest']);
  t.ok(artefactsOf({ lines: '' }).includes('lines'));
  t.same(artefactsOf({ manifest: new Uint8Array(0) }), ['manifest']);
  const stranger = { ...trust, clearings: [newSigner().key] };
  t.match(verifySettlement(good, stranger).findings, [{ artefact: 'manifest' }]);
  const other = [...files.keys()].find((name) => name.endsWith('.cbor')) as string;
  const swapped = (): Uint8Array => files.get(other) as Uint8Array;
  t.ok(artefactsOf({ evidence: swapped }).includes('evidence'), 'one evidence for all lines');
});
