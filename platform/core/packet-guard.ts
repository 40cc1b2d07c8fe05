/** Bytes before and including CONNECT; one whole packet after it (DESIGN §8). */
export const MAX_CONNECT_BYTES = 1_024;
export const MAX_PACKET_BYTES = 16_384;

const CONNECT = 1;
const FIXED_LENGTH_BYTES = 4;

/** Why a connection is closed; each is counted. */
export type GuardFault =
  'connect-too-large' | 'not-connect' | 'packet-too-large' | 'bad-length' | 'bad-packet-type';

/**
 * Follows the packet boundaries of one MQTT 3.1.1 connection by its length headers alone, so that
 * no byte beyond the limits reaches the broker's parser, which has none. Holds five bytes.
 */
export class PacketGuard {
  /** Bytes of the current packet still to come. */
  private left = 0;
  /** Position in the fixed header: 0 type, 1…4 length. */
  private headerAt = 0;
  private length = 0;
  private packets = 0;
  private type = 0;

  /** The whole CONNECT packet has gone by. */
  get isConnected(): boolean {
    return this.packets > 0 && (this.packets > 1 || this.left === 0);
  }

  /** Takes the next bytes; a fault means: close, hand nothing of this chunk on. */
  feed(chunk: Uint8Array): GuardFault | undefined {
    let at = 0;
    while (at < chunk.length) {
      if (this.left > 0) {
        const step = Math.min(this.left, chunk.length - at);
        this.left -= step;
        at += step;
        continue;
      }
      const fault = this.headerByte(chunk[at]!);
      if (fault) return fault;
      at += 1;
    }
    return undefined;
  }

  private headerByte(byte: number): GuardFault | undefined {
    if (this.headerAt === 0) {
      this.type = byte >> 4;
      if (this.packets === 0 && byte !== CONNECT << 4) return 'not-connect';
      // 0 and 15 are forbidden (MQTT 3.1.1 §2.2.1); a second CONNECT is a protocol violation.
      if (this.type === 0 || this.type === 15) return 'bad-packet-type';
      if (this.packets > 0 && this.type === CONNECT) return 'bad-packet-type';
      this.headerAt = 1;
      this.length = 0;
      return undefined;
    }
    this.length += (byte & 0x7f) * 128 ** (this.headerAt - 1);
    if ((byte & 0x80) !== 0) {
      this.headerAt += 1;
      return this.headerAt > FIXED_LENGTH_BYTES ? 'bad-length' : undefined;
    }
    const size = 1 + this.headerAt + this.length;
    if (this.packets === 0 && size > MAX_CONNECT_BYTES) return 'connect-too-large';
    if (size > MAX_PACKET_BYTES) return 'packet-too-large';
    this.packets = Math.min(this.packets + 1, 2);
    this.left = this.length;
    this.headerAt = 0;
    return undefined;
  }
}
