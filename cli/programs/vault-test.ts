import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../protocol/cose.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey, Signer } from '../../protocol/public-key.ts';
import type { CodecFault } from '../../sync/clearing/core/fault.ts';
import { readIpmMessages } from '../../sync/clearing/core/ipm-file.ts';
import { isPreStage, preProfile } from '../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../sync/clearing/core/ipm-profile.ts';
import { MANIFEST, MANIFEST_TYP } from '../../sync/clearing/core/manifest.ts';
import { vaultOver } from '../../sync/clearing/core/vault.ts';
import type { CardStore, VaultFile } from '../../sync/clearing/core/vault.ts';
import { EXIT_OK, EXIT_REFUSED, UsageError } from '../command.ts';
import { profileNamed } from './clearing-profiles.ts';
import { readBytes, readPublicKey } from './config.ts';

/** Numbers that the card systems and processors publish for tests: no card was ever issued with one. */
const TEST_CARDS: readonly string[] = [
  '3530111333300000',
  '3566002020360505',
  '4111111111111111',
  '4012888888881881',
  '5555555555554444',
  '5105105105105100',
  '378282246310005',
  '371449635398431',
  '30569309025904',
  '38520000023237',
  '6011111111111117',
  '6011000990139424',
];

const WARNING =
  'TEST VAULT: published test card numbers only. It holds no cards, keeps no secret and must never see a real file.\n';

/** A file with card numbers is for nobody but the one who runs the vault. */
const FINAL_MODE = 0o600;
const STATEMENT_MODE = 0o644;
/** One file as a whole is in memory. */
const FILE_BYTES_MAX = 512 * 1024 * 1024;

/** The same number for the same reference, always; two references may share one. */
const testCard = (reference: string): string => {
  const drawn = createHash('sha256').update(`kiri test vault ${reference}`).digest().readUInt32BE();
  return TEST_CARDS[drawn % TEST_CARDS.length] as string;
};

const testCards: CardStore = {
  cardNumbers: async (references) => new Map(references.map((one) => [one, testCard(one)])),
};

interface Options {
  readonly file: string;
  readonly signer: Signer;
  readonly out: string;
  readonly clearingKey: PublicKey | undefined;
  readonly profile: IpmProfile | undefined;
  readonly json: boolean;
}

function readOptions(argv: readonly string[]): Options {
  const text = { type: 'string' } as const;
  let parsed;
  try {
    parsed = parseArgs({
      args: [...argv],
      options: {
        key: text,
        out: text,
        'clearing-key': text,
        profile: text,
        json: { type: 'boolean', default: false },
      },
      allowPositionals: true,
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { values, positionals } = parsed;
  const [file] = positionals;
  if (file === undefined || positionals.length > 1) throw new UsageError('name one file');
  if (values.key === undefined)
    throw new UsageError('--key FILE is needed: what the vault signs with');
  if (values.out === undefined) throw new UsageError('--out DIR is needed');
  const clearing = values['clearing-key'];
  return {
    file,
    signer: loadSigner(values.key),
    out: values.out,
    clearingKey: clearing === undefined ? undefined : readPublicKey(clearing),
    profile: values.profile === undefined ? undefined : profileNamed(values.profile),
    json: values.json,
  };
}

function readFile(path: string): Uint8Array {
  const size = statSync(path, { throwIfNoEntry: false })?.size;
  if (size !== undefined && size > FILE_BYTES_MAX) {
    throw new KiriError('FILE_TOO_LARGE', `${path}: ${size} bytes, at most ${FILE_BYTES_MAX}`);
  }
  return readBytes(path);
}

/** What the vault does not do, and why; never a digit of a card number. */
class VaultRefusal extends Error {}

const refuse = ({ code, field, offset, detail }: CodecFault): never => {
  throw new VaultRefusal(`${code} ${field} at byte ${offset}: ${detail}`);
};

/** The profile of a pre-file whose manifest the clearing signed for these very bytes. */
function checkedProfile(base: string, bytes: Uint8Array, clearing: PublicKey): IpmProfile {
  const path = `${base}.manifest`;
  const sign1 = decodeSign1(readFile(path));
  const manifest = sign1.ok ? MANIFEST.decode(sign1.value.payload) : sign1;
  if (!sign1.ok || !manifest.ok) throw new VaultRefusal(`${path} is no manifest`);
  const { kid, typ } = sign1.value.header;
  const isSigned = typ === MANIFEST_TYP && kid !== undefined && bytesEqual(kid, clearing.id);
  if (!isSigned || !verifySign1(nodeVerifier(), clearing, sign1.value)) {
    throw new VaultRefusal(`${path} is not signed by the clearing`);
  }
  const { fileSha256, stage, profile: name, fileName } = manifest.value;
  const digest = createHash('sha256').update(bytes).digest();
  if (!bytesEqual(fileSha256, new Uint8Array(digest)) || fileName !== `${basename(base)}.pre.ipm`) {
    throw new VaultRefusal(`${path} is the manifest of another file`);
  }
  const profile = profileNamed(name);
  if (stage !== 'pre' || !isPreStage(profile)) {
    throw new VaultRefusal(`${fileName} is no pre-file: its profile ${name} has no card numbers`);
  }
  return profile;
}

/** PDS0122 of the header: the test vault has no part in production. */
function refuseProduction(bytes: Uint8Array, profile: IpmProfile): void {
  const messages = readIpmMessages(bytes, profile);
  if (!messages.ok) return refuse(messages.fault);
  if (messages.value[0]?.message.pds.get('0122') === 'T') return;
  throw new VaultRefusal(
    'the file is of production (PDS0122 is not T); this vault is for tests only',
  );
}

const nowS = (): number => Math.floor(Date.now() / 1000);

async function keep(
  { out, json }: Options,
  names: { readonly file: string; readonly statement: string },
  { bytes, signed, statement }: VaultFile,
): Promise<number> {
  makeFolder(out);
  const file = join(out, names.file);
  const path = join(out, names.statement);
  await writeFileDurable(file, bytes, FINAL_MODE);
  // The statement last: it marks the file as whole.
  await writeFileDurable(path, signed, STATEMENT_MODE);
  const { direction, records, cardNumbers, fileId, finalSha256 } = statement;
  const facts = { direction, fileId, records, cardNumbers, file, statement: path };
  process.stdout.write(
    json
      ? `${JSON.stringify({ ...facts, finalSha256: toHex(finalSha256) })}\n`
      : `${file}: ${cardNumbers} test card numbers in ${records} records; statement ${path}\n`,
  );
  return EXIT_OK;
}

async function fill(options: Options): Promise<number> {
  const { file, signer, clearingKey } = options;
  if (!file.endsWith('.pre.ipm')) throw new UsageError('fill wants a file that ends in .pre.ipm');
  if (!clearingKey)
    throw new UsageError('--clearing-key FILE is needed: whose manifests are filled');
  const name = basename(file).slice(0, -'.pre.ipm'.length);
  const bytes = readFile(file);
  const profile = checkedProfile(join(dirname(file), name), bytes, clearingKey);
  refuseProduction(bytes, preProfile(profile));
  const filled = await vaultOver(profile, testCards, signer).fill(bytes, nowS());
  if (!filled.ok) return refuse(filled.fault);
  return keep(options, { file: `${name}.ipm`, statement: `${name}.vault` }, filled.value);
}

async function tokenise(options: Options): Promise<number> {
  const { file, signer, profile } = options;
  if (!file.endsWith('.ipm')) throw new UsageError('tokenise wants a file that ends in .ipm');
  if (!profile || !isPreStage(profile)) {
    throw new UsageError('--profile NAME is needed: a profile whose files carry card numbers');
  }
  const name = basename(file).slice(0, -'.ipm'.length);
  const bytes = readFile(file);
  refuseProduction(bytes, profile);
  const taken = await vaultOver(profile, testCards, signer).tokenise(bytes, nowS());
  if (!taken.ok) return refuse(taken.fault);
  return keep(options, { file: `${name}.pre.ipm`, statement: `${name}.vault` }, taken.value);
}

/** `kiri vault-test fill|tokenise FILE`: the vault adapter on the partner's side, with test numbers. */
export async function runVaultTest(argv: readonly string[]): Promise<number> {
  const [tool = '', ...rest] = argv;
  const tools: Readonly<Record<string, (options: Options) => Promise<number>>> = { fill, tokenise };
  const run = Object.hasOwn(tools, tool) ? tools[tool] : undefined;
  if (!run) throw new UsageError('kiri vault-test wants fill or tokenise');
  const options = readOptions(rest);
  process.stderr.write(WARNING);
  try {
    return await run(options);
  } catch (error) {
    if (!(error instanceof VaultRefusal)) throw error;
    process.stderr.write(`REFUSED: ${error.message}\n`);
    return EXIT_REFUSED;
  }
}
