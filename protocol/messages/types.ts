/**
 * The number at key 0 of every message: type and version in one. A new version is a new number,
 * so an old reader answers UNKNOWN_MESSAGE and never half-understands.
 */
export const TYPE_OFFER = 1;
export const TYPE_PAYMENT = 2;
export const TYPE_RECEIPT = 3;
export const TYPE_REFUSAL = 4;
export const TYPE_CREDIT = 5;
export const TYPE_CLOSE = 6;
export const TYPE_QUERY = 10;
export const TYPE_HAND_IN = 11;
export const TYPE_OFFER_STOCK = 12;
export const TYPE_PRESENT = 13;
export const TYPE_CHALLENGE_REQUEST = 14;
export const TYPE_CHALLENGE_GRANT = 15;
export const TYPE_ASK = 16;
export const TYPE_PRESENTED = 17;
export const TYPE_PAID = 18;
export const TYPE_EVIDENCE = 19;
export const TYPE_PROOF = 20;
export const TYPE_CONNECT_TOKEN = 21;
export const TYPE_FINAL_THROUGH = 22;
export const TYPE_SPENT_TOTALS = 23;
export const TYPE_HANDED_IN = 24;
