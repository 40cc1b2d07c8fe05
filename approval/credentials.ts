import type { Now } from '../platform/ports.ts';
import { refused, type Refused } from '../protocol/refusal.ts';
import { ageS, judgedTime, type Judged } from './clock.ts';
import type { MandateTerms, PayerFacts, StatusPlace } from './ports.ts';
import type { ApproverState, LineState } from './state.ts';

/** Whether the ordinary caps hold, or those cut by TIGHTENED_DIVISOR. */
export type Tier = 'ordinary' | 'tightened';

export interface Standing {
  readonly tier: Tier;
  readonly listVersion: number;
  readonly judged: Judged;
  /** A refusal that stands once the device signature is verified; the device must have signed. */
  readonly final: Refused | undefined;
}

/**
 * Steps 4 and 5 of DESIGN §4: what the cached documents and the status lists say right now. An
 * open refusal is returned at once, a final one rides along until the signature is checked, so
 * that nobody else can void a device's Payment or fill the journal.
 */
export function standingOf(
  state: ApproverState,
  mandate: MandateTerms,
  line: LineState & { readonly payer: PayerFacts },
  now: Now,
): { readonly open: Refused } | Standing {
  const judged = judgedTime(state, now);
  const silent = silence(state, mandate, judged, now);
  if (silent) return { open: silent };
  const { payer } = line;
  if (judged.quality > 0 && judged.unixS < payer.validFromS) {
    return { open: refused('CREDENTIAL_INVALID', 'credentials are not valid yet') };
  }
  const lists = listsFor(state, payer.status, payer.allowance.maxListAgeS, judged, now);
  if ('ok' in lists) return { open: lists };
  let final: Refused | undefined;
  if (lists.revoked) final = refused('REVOKED', 'a document of this line is revoked');
  else if (judged.unixS >= payer.validUntilS) {
    final = refused('CREDENTIAL_EXPIRED', 'the allowance or a credential has expired');
  } else if (line.blocked) final = refused('LINE_BLOCKED', 'the line is blocked here');
  return { tier: lists.tier, listVersion: lists.version, judged, final };
}

function silence(
  state: ApproverState,
  mandate: MandateTerms,
  judged: Judged,
  now: Now,
): Refused | undefined {
  if (judged.unixS >= mandate.validUntilS)
    return refused('MANDATE_SILENT', 'the mandate has expired');
  if (judged.quality > 0 && judged.unixS < mandate.validFromS) {
    return refused('MANDATE_SILENT', 'the mandate is not valid yet');
  }
  const { centre } = state;
  if (!centre) return refused('MANDATE_SILENT', 'no signed word from the centre yet');
  const silentS = ageS(judged, centre.timeS, centre.receivedMs, now);
  if (silentS <= mandate.maxSilenceS) return undefined;
  return refused('MANDATE_SILENT', `no signed word from the centre for ${silentS} s`);
}

interface Lists {
  readonly tier: Tier;
  readonly version: number;
  readonly revoked: boolean;
}

/** The worst of all lists that the documents point into. */
function listsFor(
  state: ApproverState,
  places: readonly StatusPlace[],
  maxAgeS: number,
  judged: Judged,
  now: Now,
): Lists | Refused {
  let tier: Tier = judged.quality === 0 ? 'tightened' : 'ordinary';
  let version = 0;
  let revoked = false;
  for (const place of places) {
    const held = state.status.get(place.uri);
    if (!held) return refused('LIST_STALE', `no status list ${place.uri}`);
    const age = ageS(judged, held.facts.issuedAtS, held.receivedMs, now);
    if (age > maxAgeS) return refused('LIST_STALE', `status list is ${age} s old`);
    if (age > held.facts.ttlS) tier = 'tightened';
    if (version === 0) version = held.facts.version;
    const bit = held.facts.isRevoked(place.index);
    if (bit === undefined) return refused('LIST_STALE', 'the status list is too short');
    revoked ||= bit;
  }
  return { tier, version, revoked };
}

/** May this payee get challenges and hand in Offers now? */
export function payeeFault(
  state: ApproverState,
  facts: {
    readonly status: readonly StatusPlace[];
    readonly validFromS: number;
    readonly validUntilS: number;
  },
  now: Now,
): Refused | undefined {
  const judged = judgedTime(state, now);
  if (judged.quality > 0 && judged.unixS < facts.validFromS) {
    return refused('CREDENTIAL_INVALID', 'merchant credential is not valid yet');
  }
  if (judged.unixS >= facts.validUntilS) {
    return refused('CREDENTIAL_EXPIRED', 'merchant credential has expired');
  }
  for (const place of facts.status) {
    if (state.status.get(place.uri)?.facts.isRevoked(place.index) === true) {
      return refused('REVOKED', 'merchant credential is revoked');
    }
  }
  return undefined;
}
