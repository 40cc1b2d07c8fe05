/**
 * Stated limits of a device: every map, queue and list below `agent/` is bounded by one of these.
 */

/** Payments signed and not yet answered. Above it a want is refused BUSY. */
export const MAX_OUTSTANDING = 64;
/** Wants that still wait for their Offer. */
export const MAX_WANTS = 64;
/** Offers that came before the application asked, each used only within its lifetime. */
export const MAX_HELD_OFFERS = 16;
/** Payees, approvers and tariffs known at once, each. */
export const MAX_TRUSTED = 4_096;
/** Answered Payments kept until a Statement says recorded; then new spending is refused DISK_FULL. */
export const MAX_RECEIPTS_KEPT = 10_000;
/** Closes that no gateway has yet; one more is refused BUSY. */
export const MAX_CLOSES_KEPT = 8;
/** A Close that is not answered goes out so often in one connection. */
export const MAX_CLOSE_SENDS = 32;
/** After that the issuer has released the hold by itself (DESIGN §2). */
export const CLOSE_USELESS_AFTER_EXPIRY_S: number = 30 * 86_400;
/** Characters of the application's reference of a want. */
export const MAX_REF_LENGTH = 64;

/** Counters reserved ahead in one block: at most this many are skipped after an unclean start. */
export const RESERVE_COUNTERS = 32;
/** The total is reserved ahead by this many Payments of the size of the one that asked for it. */
export const RESERVE_PAYMENTS = 8n;

/** An ask without an Offer is sent again after this long, doubling. */
export const ASK_AGAIN_MS = 500;
/** No Offer within this time of the want: refused, nothing was signed. */
export const OFFER_WAIT_MS = 10_000;
/** After this long without a signed answer the application is told `unknown`. */
export const ANSWER_WAIT_MS = 5_000;
/** First and longest pause before the same bytes go out again. */
export const RESEND_MIN_MS = 500;
export const RESEND_MAX_MS = 60_000;
/** Payments wait this long for the approver's answer to the documents shown at connection. */
export const PRESENT_WAIT_MS = 2_000;
/** An approver that did not take the documents is shown them again after this long. */
export const PRESENT_AGAIN_MS = 5_000;

/** Open Offers that a payee remembers, in all and for one payer. */
export const MAX_OPEN_OFFERS = 4_096;
export const MAX_OPEN_PER_PAYER = 64;
/** Challenges asked for at once, the mark below which more are asked for, and the pause between. */
export const CHALLENGE_STOCK = 64;
export const CHALLENGE_LOW_MARK = 32;
export const CHALLENGE_AGAIN_MS = 1_000;
/** Asks that wait for a challenge. */
export const MAX_WAITING_ASKS = 256;
/** An Offer stays known this long after its accept-by, for a Receipt that comes late. */
export const OFFER_MEMORY_MS = 600_000;
/** Sales kept for hand-in; above it a payee makes no more Offers. */
export const MAX_SALES_KEPT = 1_000_000;
/** Latest sales known by hash, so that a repeated message opens nothing twice. */
export const MAX_RECENT_SALES = 4_096;
/** Articles whose use the payee itself has measured. */
export const MAX_USAGES = 4_096;
/** Approvers whose last word on finality is remembered. */
export const MAX_FINALS = 256;
