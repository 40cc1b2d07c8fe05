import type { Signer } from '../../protocol/public-key.ts';

/**
 * Where a device keeps its private key. Stands in the binding and caps the device's limits.
 * A level says what it takes to copy the key: a copied file; file and passphrase; the chip itself.
 */
export const KEY_STORE_PLAIN_FILE = 0;
export const KEY_STORE_SEALED_FILE = 1;
export const KEY_STORE_HARDWARE = 2;

/** What a device or server is given instead of a key. A PKCS#11 token fits the same shape. */
export interface KeyStore {
  readonly level: number;
  readonly signer: Signer;
}
