import type { AmountMicro } from '../../../protocol/amount.ts';
import { claims, type ClaimsCodec } from '../../../protocol/claims.ts';
import { ID_BYTES } from '../../../protocol/ids.ts';
import { AMOUNT, bytes, listOf, text, U32, uint } from '../../../protocol/schema.ts';
import {
  CLAIM_MANDATE,
  CREDENTIAL,
  credentialFault,
  CURRENCY,
  type Credential,
} from './standard.ts';

/** Who bears what a gateway accepts above its limits. */
export const OVERAGE_BY_OPERATOR = 0;
export const OVERAGE_BY_ISSUER = 1;

/** Gateways of one neighbourhood at most. */
const MAX_NEIGHBOURS = 32;

/** Lets an approver stand in for the issuer (代行応答, R-047). Signed by the issuer. */
export interface GatewayMandate extends Credential {
  readonly operator: string;
  readonly place: string;
  readonly currency: number;
  /** Unacknowledged sum of one device here. */
  readonly deviceLimitMicro: AmountMicro;
  /** Unacknowledged sum of one party here. */
  readonly partyLimitMicro: AmountMicro;
  /** Most unacknowledged sum of all together. */
  readonly maxUnacknowledgedMicro: AmountMicro;
  /** Without an acknowledgement for longer than this: MANDATE_SILENT. */
  readonly maxSilenceS: number;
  /** Ids of the approvers it shares exposure with. */
  readonly neighbours: readonly Uint8Array[];
  /** Its log's origins begin with this. */
  readonly logOriginPrefix: string;
  /** OVERAGE_BY_OPERATOR or OVERAGE_BY_ISSUER. */
  readonly overageBearer: number;
}

export const GATEWAY_MANDATE: ClaimsCodec<GatewayMandate> = claims<Credential, GatewayMandate>(
  'kiri/mandate',
  CLAIM_MANDATE,
  CREDENTIAL,
  {
    operator: [1, text(64)],
    place: [2, text(64)],
    currency: [3, CURRENCY],
    deviceLimitMicro: [4, AMOUNT],
    partyLimitMicro: [5, AMOUNT],
    maxUnacknowledgedMicro: [6, AMOUNT],
    maxSilenceS: [7, U32],
    neighbours: [8, listOf(bytes(ID_BYTES), MAX_NEIGHBOURS)],
    logOriginPrefix: [9, text(128)],
    overageBearer: [10, uint(OVERAGE_BY_ISSUER)],
  },
  (value) => (value.logOriginPrefix === '' ? 'log origin prefix is empty' : credentialFault(value)),
);

/** Whether a log is below a mandate's prefix: the same, or more components; `a/x` does not cover `a/xy`. */
export function coversOrigin(
  { logOriginPrefix }: Pick<GatewayMandate, 'logOriginPrefix'>,
  origin: string,
): boolean {
  const below = logOriginPrefix.endsWith('/') ? logOriginPrefix : `${logOriginPrefix}/`;
  return origin === logOriginPrefix || (origin.startsWith(below) && origin.length > below.length);
}
