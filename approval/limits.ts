/**
 * Every bound of an approver in one place. Memory is flat: at these limits the whole state is
 * about 70 MB, however many payments have passed; what is forgotten here stands in the journal.
 */

/** From the grant of a challenge until nothing of it needs to be kept: no Offer on it lives longer. */
export const CHALLENGE_LIFETIME_MS = 600_000;
/** Challenges handed out and not yet expired, over all payees and for one payee. */
export const MAX_LIVE_CHALLENGES = 1_048_576;
export const MAX_PAYEE_CHALLENGES = 262_144;

/** Offers held, and those of one payee. A used Offer's row goes first; its used mark is one bit. */
export const MAX_LIVE_OFFERS = 32_768;
export const MAX_PAYEE_OFFERS = 4_096;

/** Lines and payees with credentials or history in memory. */
export const MAX_LINES = 65_536;
export const MAX_PAYEES = 4_096;

/** Answered Payments in memory, in all and on one line; older ones are looked up on the disk. */
export const MAX_SEEN = 32_768;
export const MAX_SEEN_PER_LINE = 64;

/** Journalled or looked-up Payments whose answer is not yet out; above it: BUSY. */
export const MAX_PENDING = 4_096;
/** Devices that wait for one Payment's answer besides its first sender. */
export const MAX_WAITERS = 4;
/** Searches on the disk under way; above it: BUSY. */
export const MAX_LOOKUPS = 64;
/** Documents waiting for their sync. */
export const MAX_PENDING_DOCUMENTS = 128;

/** Accepted Payments that no acknowledgement covers yet: 16 bytes each. Above it: BUSY. */
export const MAX_UNACKNOWLEDGED = 1_048_576;

/** Epochs of the unbroken journal that a Void may still refer to. */
export const MAX_EPOCHS = 4_096;

/**
 * Final refusals of one device: so many at once, then one per interval. Each costs journal bytes
 * and one of the MAX_UNACKNOWLEDGED rows; at this pace one device that loops needs four months
 * without the centre to fill them.
 */
export const FINAL_REFUSAL_BURST = 32;
export const FINAL_REFUSAL_INTERVAL_MS = 10_000;
/** Signed refusals of any kind to one sender, and senders remembered for it. */
export const REFUSAL_BURST = 64;
export const REFUSAL_INTERVAL_MS = 20;
export const MAX_SENDERS = 16_384;

/** Payments with a bad signature from one sender; above it none is verified any more. */
export const BAD_SIGNATURE_BURST = 32;
export const BAD_SIGNATURE_INTERVAL_MS = 200;
/** Document sets of one sender that are verified (several signatures each). */
export const PRESENT_BURST = 8;
export const PRESENT_INTERVAL_MS = 1_000;
/** Sales that a payee hears of again when it comes back. */
export const MAX_SALES_TOLD = 64;
/** Hand-ins of one sender. */
export const HAND_IN_BURST = 64;
export const HAND_IN_INTERVAL_MS = 200;
/** Hand-ins whose answer waits for the journal; one more is kept and not answered, its sender sends it again. */
export const MAX_PENDING_HAND_INS = 1_024;

/** What BUSY, RATE_LIMITED and DISK_FULL advise. */
export const RETRY_AFTER_MS = 500;

/** Status lists held: the issuer's and those of acquirers. */
export const MAX_STATUS_LISTS = 16;

/** A status list older than its own time to live, or a clock nobody vouches for: caps are cut to 1/4. */
export const TIGHTENED_DIVISOR = 4n;
