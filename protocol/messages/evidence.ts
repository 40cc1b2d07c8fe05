import { bytesBetween, message, U53, type Codec, type Field } from '../schema.ts';
import { TYPE_EVIDENCE, TYPE_PROOF } from './types.ts';

const SIGNED: Field<Uint8Array> = bytesBetween(70, 1024);
const DOCUMENT: Field<Uint8Array> = bytesBetween(70, 4096);

/** What the ledger seals for one answered Payment; its leaf commits to it. */
export interface Evidence {
  readonly payment: Uint8Array;
  /** Receipt or Void. */
  readonly outcome: Uint8Array;
  /** Always beside a Receipt; a Void may name an Offer that its approver never held. */
  readonly offer?: Uint8Array;
  /** The approver's clock when it answered. */
  readonly answeredAtMs: number;
  /** What was handed in with it: the payee's refund, the device's end of an allowance. */
  readonly credit?: Uint8Array;
  readonly close?: Uint8Array;
}

export const EVIDENCE: Codec<Evidence> = message<Evidence>(TYPE_EVIDENCE, {
  payment: [1, SIGNED],
  outcome: [2, SIGNED],
  offer: [3, SIGNED, 'optional'],
  answeredAtMs: [4, U53],
  credit: [5, SIGNED, 'optional'],
  close: [6, SIGNED, 'optional'],
});

/**
 * Proof of misbehaviour (DESIGN §4): two Payments of one line, both signed by its device, that no
 * honest device signs. With the binding anybody can check it offline.
 */
export interface MisbehaviourProof {
  readonly earlier: Uint8Array;
  readonly later: Uint8Array;
  readonly binding: Uint8Array;
}

export const MISBEHAVIOUR_PROOF: Codec<MisbehaviourProof> = message<MisbehaviourProof>(TYPE_PROOF, {
  earlier: [1, SIGNED],
  later: [2, SIGNED],
  binding: [3, DOCUMENT],
});
