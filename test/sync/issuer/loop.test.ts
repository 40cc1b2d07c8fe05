import { sha256 } from '@noble/hashes/sha2.js';
import t from 'tap';
import { toHex } from '../../../protocol/bytes.ts';
import type { Taken } from '../../../sync/clearing/read-back.ts';
import type { Arrival } from '../../../sync/issuer/core/desk.ts';
import { cutThree, lineOf, outcomes, standing } from '../clearing/issuer-side.ts';
import { anchors } from '../clearing/sample.ts';
import { openTestStore } from '../clearing/store.ts';
import { NOON_S, answered, deskOn } from './desk-sample.ts';

/** A file of the clearing as it lies in its output folder. */
const arrivalOf = (files: ReadonlyMap<string, string>, fileName: string): Arrival => {
  const find = (path: string): Uint8Array | undefined => {
    const hex = files.get(`out/${path}`);
    return hex === undefined ? undefined : new Uint8Array(Buffer.from(hex, 'hex'));
  };
  const base = `clearing/${fileName.replace('.ipm', '')}`;
  return {
    fileName,
    manifest: find(`${base}.manifest`)!,
    file: find(`${base}.ipm`)!,
    lines: Buffer.from(find(`${base}.lines.jsonl`)!).toString(),
    hasEvidence: true,
    evidence: (id) => find(`evidence/${id}.cbor`),
  };
};

type World = Awaited<ReturnType<typeof cutThree>>;

/** The clearing reads what the desk wrote, in the order of the numbers. */
const readBack = async (
  { service, issuer }: World,
  out: ReadonlyMap<string, Uint8Array>,
  written: readonly string[],
  nowS: number,
): Promise<string[]> => {
  const taken: Taken[] = [];
  for (const name of written) {
    const signed = out.get(name)!;
    if (name.endsWith('.ack'))
      taken.push(await service.readBack(issuer.opened(signed, nowS), nowS));
    if (!name.endsWith('.manifest')) continue;
    const file = out.get(name.replace('.manifest', '.ipm'))!;
    const inbound = issuer.openedFile({ fileName: '', file, manifest: signed }, nowS);
    t.equal(inbound.sha256, toHex(sha256(signed)));
    taken.push(await service.readBack(inbound, nowS));
  }
  return taken.flatMap(outcomes);
};

t.test(
  'two lines taken, one refused, presented anew, disputed, defended, and arbitrated',
  async (t) => {
    const world = await cutThree();
    const { service, file, files } = world;
    const states = new Map([['ACC-0', 'open'] as const, ['ACC-1', 'open'] as const]);
    const { desk, out } = await deskOn(await openTestStore(), {
      account: (reference) => states.get(reference as 'ACC-0') ?? 'unknown',
    });
    let at = NOON_S + 600;
    const first = await answered(desk, arrivalOf(files, file.fileName), at);
    t.match(first.file, { verdict: 'partly', lines: 3, linesTaken: 2 });
    const told = await readBack(world, out, first.written, at);
    t.same(told, ['moved', 'moved', 'moved'], 'acknowledgement, 691 and 688 fit the books');
    t.same(await standing(service), { presentedOpen: 1200n, parked: 30n });
    const again = await answered(desk, arrivalOf(files, file.fileName), at);
    t.same(await readBack(world, out, again.written, at), ['repeated', 'repeated']);

    states.set('ACC-2' as 'ACC-0', 'open');
    at += 600;
    t.match(await service.decideLine(lineOf(file, 30n).arn, 'requeue', at), { kind: 'moved' });
    const { files: anew } = await service.cut(at, anchors, true);
    const second = await answered(desk, arrivalOf(files, anew[0]!.fileName), at);
    t.match(second, { file: { verdict: 'accepted', linesTaken: 1 }, missingSequences: [] });
    t.same(await readBack(world, out, second.written, at), ['moved', 'moved']);
    t.same(await standing(service), { presentedOpen: 1230n });

    at += 600;
    const { arn } = lineOf(file, 1000n);
    const dispute = await desk.chargeback({ arn, reason: '4853', cycle: 'first' }, at);
    if (!dispute.ok) throw new Error(dispute.reason);
    t.same(await readBack(world, out, dispute.value.written, at), ['moved']);
    t.same(await standing(service), { presentedOpen: 230n, presentedDisputed: 1000n });
    const asked = await desk.retrieval({ arn, reason: '6323' }, at);
    t.same(asked.ok && (await readBack(world, out, asked.value.written, at)), ['moved']);

    at += 600;
    t.match(await service.represent({ arn, reason: '4853', amountMinor: 600n }, at), {
      kind: 'moved',
    });
    const { files: defence } = await service.cut(at, anchors, true);
    const third = await answered(desk, arrivalOf(files, defence[0]!.fileName), at);
    t.match(
      third,
      { file: { verdict: 'accepted', linesTaken: 1 } },
      'the same ARN, presented again',
    );
    t.same(await readBack(world, out, third.written, at), ['moved', 'moved']);
    t.same(await standing(service), { presentedOpen: 830n, presentedChargedBack: 400n });

    at += 600;
    const last = await desk.chargeback({ arn, reason: '4853', cycle: 'arbitration' }, at);
    if (!last.ok) throw new Error(last.reason);
    t.equal(last.value.amountMinor, 600n);
    t.same(await readBack(world, out, last.value.written, at), ['moved']);
    t.match(await service.reconcile(), { reconciles: true });
    const { listed } = await service.alerts(at);
    t.notOk(listed.some(({ kind }) => kind === 'NUMBER_GAP' || kind === 'MESSAGE_REFUSED'));
    await service.close();
  },
);

t.test('a rejected file comes again under a new id with the same ARNs, and is taken', async (t) => {
  const world = await cutThree();
  const { service, file, files } = world;
  const { desk, out } = await deskOn(await openTestStore());
  // Received by a desk whose clock is days behind: the file is of a day that has not begun there.
  const early = NOON_S - 3 * 86_400;
  const refused = await answered(desk, arrivalOf(files, file.fileName), early);
  t.equal(refused.file.verdict, 'rejected');
  t.same(await readBack(world, out, refused.written, NOON_S), ['moved', 'repeated']);
  const at = NOON_S + 60;
  t.match(await service.resubmit(file.fileName.replace('.ipm', ''), at), { kind: 'moved' });
  const next = [...files.keys()]
    .filter((path) => path.endsWith('.ipm'))
    .map((path) => path.slice(13));
  t.equal(next.length, 2);
  const taken = await answered(
    desk,
    arrivalOf(
      files,
      next.find((name) => name !== file.fileName)!,
    ),
    at,
  );
  t.match(taken.file, { verdict: 'accepted', linesTaken: 3 });
  t.same(await readBack(world, out, taken.written, at), ['moved', 'moved']);
  t.same(await standing(service), { presentedOpen: 1230n });
  await service.close();
});
