/**
 * A QoS 0 PUBLISH (MQTT 3.1.1 §3.3). Replies go out at QoS 0: the sessions are clean, so QoS 1
 * would add an acknowledgement and redeliver nothing; what a device needs it gets by sending the
 * same bytes again (DESIGN §4).
 */
export function putPublishHead(
  out: Uint8Array,
  topic: Uint8Array,
  payloadBytes: number,
  start = 0,
): number {
  let remaining = 2 + topic.length + payloadBytes;
  out[start] = 0x30;
  let at = start + 1;
  do {
    const low = remaining % 128;
    remaining = Math.floor(remaining / 128);
    out[at] = remaining > 0 ? low | 0x80 : low;
    at += 1;
  } while (remaining > 0);
  out[at] = topic.length >>> 8;
  out[at + 1] = topic.length & 0xff;
  out.set(topic, at + 2);
  return at + 2 + topic.length;
}

/** Bytes of the whole packet. */
export function publishFrameBytes(topicBytes: number, payloadBytes: number): number {
  const remaining = 2 + topicBytes + payloadBytes;
  return 1 + (remaining < 128 ? 1 : remaining < 16_384 ? 2 : 3) + remaining;
}

/** Bytes of one PUBACK (MQTT 3.1.1 §3.4). */
export const PUBACK_BYTES = 4;

/** Writes a PUBACK at `start`; returns its end. */
export function putAck(out: Uint8Array, start: number, packetId: number): number {
  out[start] = 0x40;
  out[start + 1] = 2;
  out[start + 2] = packetId >>> 8;
  out[start + 3] = packetId & 0xff;
  return start + PUBACK_BYTES;
}
