/**
 * Map keys from hashes and ids: 16 bytes as 8 UTF-16 units, a third of the cost of hex. A hash is
 * cut to 128 bits, so whoever finds a row compares the whole hash (`bytesEqual`) before using it.
 */
export function bytesKey(bytes: Uint8Array): string {
  return String.fromCharCode(
    (bytes[0]! << 8) | bytes[1]!,
    (bytes[2]! << 8) | bytes[3]!,
    (bytes[4]! << 8) | bytes[5]!,
    (bytes[6]! << 8) | bytes[7]!,
    (bytes[8]! << 8) | bytes[9]!,
    (bytes[10]! << 8) | bytes[11]!,
    (bytes[12]! << 8) | bytes[13]!,
    (bytes[14]! << 8) | bytes[15]!,
  );
}

/** The 16 bytes behind a key. */
export function keyBytes(key: string): Uint8Array {
  const bytes = new Uint8Array(16);
  for (let at = 0; at < 8; at += 1) {
    bytes[2 * at] = key.charCodeAt(at) >> 8;
    bytes[2 * at + 1] = key.charCodeAt(at) & 0xff;
  }
  return bytes;
}
