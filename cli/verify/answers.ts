import { toHex } from '../../protocol/bytes.ts';
import {
  openAcknowledgement,
  type InboundTrust,
} from '../../sync/clearing/core/inbound-documents.ts';
import type { CodecFault } from '../../sync/clearing/core/fault.ts';
import { INBOUND_BYTES_MAX, readInbound } from '../../sync/clearing/core/inbound.ts';
import type { Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { SettlementFileView } from './settlement-file.ts';
import type { TrustStore } from './trust.ts';

/** What an issuer sent back for the settlement files of a folder stands below this. */
export const ANSWERS_FOLDER = 'answers';
const ANSWERS = `${ANSWERS_FOLDER}/`;
const ANSWER = /\.(?:ack|manifest|ipm)$/;

const words = ({ code, field, detail }: CodecFault): string => `${code} ${field}: ${detail}`;

type Opened<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly fault: CodecFault };

/** Opens a document that is addressed to one of the clearings; which one is in the document. */
function openFor<T>(
  { book }: TrustStore,
  nowS: number | undefined,
  open: (trust: InboundTrust) => Opened<T>,
): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string } {
  let reason = 'no clearing is credentialed in this folder';
  for (const { key } of book.clearings) {
    const { verifier, issuerKey } = book.trust;
    // Without a reader's clock no time is too late.
    const now = nowS ?? Number.MAX_SAFE_INTEGER;
    const opened = open({ verifier, issuers: [issuerKey], clearing: key.id, nowS: now });
    if (opened.ok) return opened;
    reason = words(opened.fault);
  }
  return { ok: false, reason };
}

interface Context {
  readonly files: Artefacts;
  readonly store: TrustStore;
  readonly findings: Findings;
  /** The reader's clock, UTC seconds. */
  readonly nowS: number | undefined;
}

function checkAcknowledgement(
  { files, store, findings, nowS }: Context,
  path: string,
  views: readonly SettlementFileView[],
): void {
  const bytes = files.read(path);
  if (!bytes) return;
  const opened = openFor(store, nowS, (trust) => openAcknowledgement(bytes, trust));
  if (!opened.ok) {
    findings.fault(path, opened.reason);
    return;
  }
  findings.count('acknowledgements');
  const { fileName, fileSha256, records } = opened.value.value;
  const view = views.find((one) => one.fileName === fileName);
  if (!view) findings.fault(path, `acknowledges ${fileName}, which is not here`);
  else if (view.sha256 !== toHex(fileSha256)) findings.fault(path, `names another ${fileName}`);
  else if (view.records !== records) findings.fault(path, `counts ${records} records`);
}

function checkMessages({ files, store, findings, nowS }: Context, path: string): void {
  const manifest = files.read(path);
  const file = files.read(path.replace(/manifest$/, 'ipm'), INBOUND_BYTES_MAX);
  if (!manifest || !file) return;
  const opened = openFor(store, nowS, (trust) => readInbound(file, manifest, trust));
  if (opened.ok) findings.count('messages of issuers', opened.value.messages.length);
  else findings.fault(path, opened.reason);
}

/**
 * Checks every answer in `answers/`: signed by the issuer, addressed to the folder's clearing, and an acknowledgement
 * names a settlement file of the folder by its hash (docs/clearing.md, "What you send us").
 */
export function checkAnswers(context: Context, views: readonly SettlementFileView[]): void {
  const { files, findings } = context;
  const paths = new Set(files.below(ANSWERS));
  for (const path of paths) {
    if (!ANSWER.test(path)) findings.fault(path, 'is no answer of an issuer by its name');
    else if (path.endsWith('.ack')) {
      findings.guard(path, () => checkAcknowledgement(context, path, views));
    } else if (path.endsWith('.manifest')) {
      findings.guard(path, () => checkMessages(context, path));
    } else if (!paths.has(path.replace(/ipm$/, 'manifest'))) {
      findings.fault(path, 'no signed manifest speaks of it');
    }
  }
}
