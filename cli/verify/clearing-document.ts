import { CLEARING_CREDENTIAL } from '../../identity/core/documents/credentials.ts';
import { checkPeriod } from '../../identity/core/period.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../protocol/cose.ts';
import type { Codec } from '../../protocol/schema.ts';
import type { Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { TrustStore } from './trust.ts';

/** A document of the `typ` that a clearing signed, under a credential in force at the time that it names. */
export function openOfClearing<T>(
  {
    files,
    store,
    findings,
  }: {
    readonly files: Artefacts;
    readonly store: TrustStore;
    readonly findings: Findings;
  },
  path: string,
  { typ, codec, timeOf }: { typ: string; codec: Codec<T>; timeOf: (value: T) => number },
): T | undefined {
  const bytes = files.read(path);
  if (!bytes) return undefined;
  const fault = (reason: string): undefined => {
    findings.fault(path, reason);
    return undefined;
  };
  const message = decodeSign1(bytes);
  if (!message.ok) return fault(message.reason);
  const { header, payload } = message.value;
  if (header.typ !== typ) return fault(`typ is not ${typ}`);
  const { clearings, trust } = store.book;
  const own = clearings.filter(({ key }) => header.kid && bytesEqual(key.id, header.kid));
  const [first] = own;
  if (!first) return fault('not signed by a clearing that the issuer credentialed');
  if (!verifySign1(trust.verifier, first.key, message.value))
    return fault('the signature does not hold');
  const decoded = codec.decode(payload);
  if (!decoded.ok) return fault(`${decoded.code}: ${decoded.reason}`);
  // A renewal stands beside what it renews.
  const inForce = own.map((credential) =>
    checkPeriod({ typ: CLEARING_CREDENTIAL.typ, ...credential }, timeOf(decoded.value)),
  );
  const [late] = inForce;
  if (late?.ok === false && !inForce.some(({ ok }) => ok)) return fault(late.reason);
  return decoded.value;
}
