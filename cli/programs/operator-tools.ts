import { issueLogEnrolment } from '../../identity/core/issue.ts';
import { createKeyFile, loadSigner } from '../../identity/edge/key-file.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { ALG_EDDSA, ALG_ES256, coseKeyOf, type CoseAlg } from '../../protocol/public-key.ts';
import {
  encodeVerifierKey,
  TYPE_COSIGNATURE,
  TYPE_ED25519,
  verifierKey,
} from '../../sync/ledger/core/note-key.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { readPublicKey } from './config.ts';
import { say, toolOptions, writeNewFile } from './tool-options.ts';

const ALGS: ReadonlyMap<string, CoseAlg> = new Map([
  ['Ed25519', ALG_EDDSA],
  ['P-256', ALG_ES256],
]);

/** Makes a key pair: the private half stays in a new file of mode 0600, the public one is a COSE_Key beside it. */
async function keygen(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['key', 'public', 'alg']);
  const [key, publicFile] = [options.need('key'), options.need('public')];
  const alg = ALGS.get(options.text('alg') ?? 'Ed25519');
  if (alg === undefined) throw new UsageError('--alg is neither Ed25519 nor P-256');
  const { signer } = createKeyFile(key, alg);
  await writeNewFile(publicFile, encodeCanonical(coseKeyOf(signer.key)));
  const { hex: id } = signer.key;
  say(options.json, { id, key, public: publicFile }, `key ${id}: ${key}, public ${publicFile}`);
  return EXIT_OK;
}

/** The form in which policies and configurations name a log's or a witness's key (C2SP signed-note). */
async function vkey(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['public', 'name', 'for']);
  const kind = options.need('for');
  if (kind !== 'log' && kind !== 'witness')
    throw new UsageError('--for is neither log nor witness');
  const key = readPublicKey(options.need('public'));
  if (key.alg !== ALG_EDDSA) throw new UsageError('logs and witnesses sign with Ed25519');
  const type = kind === 'log' ? TYPE_ED25519 : TYPE_COSIGNATURE;
  const text = encodeVerifierKey(verifierKey(options.need('name'), type, key.point));
  say(options.json, { vkey: text }, text);
  return EXIT_OK;
}

/** What the gateway's key signs so that witnesses and mirrors with the issuer's key enrol its log. */
async function enrolLog(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['key', 'public', 'origin', 'url', 'out']);
  const [origin, out, url] = [options.need('origin'), options.need('out'), options.text('url')];
  const gateway = loadSigner(options.need('key'));
  const enrolment = issueLogEnrolment(gateway, {
    issuedS: Math.floor(Date.now() / 1000),
    origin,
    logKey: readPublicKey(options.need('public')),
    ...(url === undefined ? {} : { url }),
  });
  await writeNewFile(out, enrolment);
  const { hex: id } = gateway.key;
  say(options.json, { gateway: id, origin, file: out }, `enrolment of ${origin} by ${id}: ${out}`);
  return EXIT_OK;
}

/** `kiri operator …`: what whoever runs a gateway, witness or mirror makes for itself. */
export async function runOperatorTools([part, ...rest]: readonly string[]): Promise<number> {
  if (part === 'keygen') return keygen(rest);
  if (part === 'vkey') return vkey(rest);
  if (part === 'enrol-log') return enrolLog(rest);
  throw new UsageError('kiri operator wants keygen, vkey or enrol-log');
}
