/**
 * The anchor port (DESIGN section 5, L3): a place outside the consortium that remembers a roll-up checkpoint. One file
 * per kind of place implements it; what is proven offline, and against which trusted data, is each one's own.
 */
import type { Outcome } from './text.ts';

/** Names one submission at its place, and is all that an adapter needs to go on after a crash. At most 64 KiB. */
export type AnchorRef = string;

/** Longest reference that is kept. */
export const MAX_REF_CHARACTERS = 65_536;
/** Longest evidence that is stored or read. */
export const MAX_EVIDENCE_BYTES = 1_048_576;

export type AnchorStatus =
  /** Not there yet; `detail` is for people: waiting for what. */
  | { readonly kind: 'pending'; readonly detail: string }
  | { readonly kind: 'final'; readonly evidence: Uint8Array }
  /** This submission will never become final; another may. */
  | { readonly kind: 'failed'; readonly reason: string };

/** A place that remembers checkpoints. `note` is always a published roll-up checkpoint: a signed note in its bytes. */
export interface Anchor {
  /**
   * Hands a note in.
   * @param keep makes the reference durable; it is awaited before anything leaves that costs or cannot be taken back
   * @throws KiriError where the place cannot be reached or refuses; what was kept is asked for again by `status`
   */
  submit(note: Uint8Array, keep: (ref: AnchorRef) => Promise<void>): Promise<AnchorRef>;
  /**
   * Asks after a submission, and sends the same bytes again where they never arrived.
   * @throws KiriError where the place cannot be reached
   */
  status(ref: AnchorRef, note: Uint8Array): Promise<AnchorStatus>;
}

/** What evidence proves of a note. */
export interface AnchoredNote {
  /** The note existed at this time at the latest, as its place says; POSIX seconds. */
  readonly anchoredAtS: number;
  /** What the proof rests on, for people: block, authority, consortium key. */
  readonly by: string;
}

/** Checks evidence without a network, against data from the trust files. */
export type VerifyAnchor = (evidence: Uint8Array, note: Uint8Array) => Outcome<AnchoredNote>;
