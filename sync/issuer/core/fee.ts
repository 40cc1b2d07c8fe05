import type { FeeCollection } from '../../clearing/core/inbound-message.ts';
import type { IpmProfile } from '../../clearing/core/ipm-profile.ts';

/** A fee as the desk sent it. */
export type SentFee = Pick<
  FeeCollection,
  'reference' | 'direction' | 'amountMinor' | 'currency' | 'reason' | 'arn'
>;

/** What a person at the desk asks for. */
export type FeeRequest = SentFee & {
  /** Id of the clearing's key in hex; may be absent where the desk took files of one clearing alone. */
  readonly clearing?: string;
  readonly text?: string;
};

type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

/** True if a request is the fee that was sent under its reference. */
export const isSameFee = (sent: SentFee, request: SentFee): boolean =>
  sent.direction === request.direction &&
  sent.amountMinor === request.amountMinor &&
  sent.currency === request.currency &&
  sent.reason === request.reason &&
  sent.arn === request.arn;

/** The 1740 of a new fee. `date` is YYMMDD. */
export const feeMessage = (
  request: FeeRequest,
  date: string,
  profile: IpmProfile,
): Checked<FeeCollection> => {
  const { reference, direction, amountMinor, currency, reason, arn, text } = request;
  const known = profile.inbound.reasons.filter(({ use }) => use === 'fee');
  if (!known.some(({ code }) => code === reason)) {
    const list = known.map(({ code, meaning }) => `${code} ${meaning}`).join('; ');
    return { ok: false, reason: `${reason} is no reason of a fee; there are: ${list}` };
  }
  const value: FeeCollection = {
    kind: 'fee',
    use: 'collection',
    reference,
    direction,
    amountMinor,
    currency,
    reason,
    date,
    ...(arn === undefined ? {} : { arn }),
    ...(text === undefined ? {} : { text }),
  };
  return { ok: true, value };
};

/** The 1740 that gives a fee back in whole, to the side that paid it. */
export const feeReturn = (sent: SentFee, date: string): FeeCollection => ({
  kind: 'fee',
  use: 'return',
  reference: sent.reference,
  direction: sent.direction === 'charged' ? 'paid' : 'charged',
  amountMinor: sent.amountMinor,
  currency: sent.currency,
  reason: sent.reason,
  date,
  ...(sent.arn === undefined ? {} : { arn: sent.arn }),
});
