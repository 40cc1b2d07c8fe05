import { connect, type Socket } from 'node:net';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { makeConnectToken } from '../protocol/messages/connect.ts';
import type { Signer } from '../protocol/public-key.ts';
import { inboxFilter, upTopic, type UpVerb } from '../protocol/topics.ts';

const CONNECT = 0x10;
const PUBLISH_QOS1 = 0x32;
const SUBSCRIBE = 0x82;
const CONNACK_TYPE = 2;
const PUBLISH_TYPE = 3;
const PUBACK_TYPE = 4;
const KEEPALIVE_S = 300;

function string(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as string);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(bytes.length);
  return Buffer.concat([head, bytes]);
}

function packet(first: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const head = [first];
  let rest = body.length;
  do {
    head.push((rest % 128) | (rest >= 128 ? 0x80 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.concat([Buffer.from(head), body]);
}

/**
 * The least MQTT 3.1.1 client that can load a gateway (QoS 1 out, QoS 0 in, noDelay): packets are
 * made ahead, so that the load costs little of the machine that it shares with what is measured.
 */
export class WireDevice {
  readonly #signer: Signer;
  readonly #approver: Signer;
  readonly socket: Socket;
  readonly #reached: Promise<unknown>;
  #rest: Buffer = Buffer.alloc(0);
  #packetId = 0;
  #onConnack: () => void = () => {};
  acknowledged = 0;
  published = 0;
  onMessage: (verb: string, payload: Buffer) => void = () => {};

  constructor(signer: Signer, approver: Signer, port: number) {
    this.#signer = signer;
    this.#approver = approver;
    this.socket = connect({ host: '127.0.0.1', port, noDelay: true });
    this.#reached = once(this.socket, 'connect');
    this.socket.on('data', (chunk: Buffer) => this.#take(chunk));
  }

  async open(): Promise<void> {
    await this.#reached;
    const { key } = this.#signer;
    const approver = this.#approver.key;
    const token = {
      approver: approver.id,
      timeS: Math.floor(Date.now() / 1_000),
      nonce: randomBytes(16),
    };
    const flags = Buffer.from([4, 0xc2, KEEPALIVE_S >> 8, KEEPALIVE_S & 0xff]);
    const connected = new Promise<void>((resolve) => {
      this.#onConnack = resolve;
    });
    this.socket.write(
      packet(
        CONNECT,
        string('MQTT'),
        flags,
        string(key.hex),
        string(key.hex),
        string(makeConnectToken(this.#signer, token)),
      ),
    );
    const filter = string(inboxFilter(approver.hex, key.hex));
    this.socket.write(packet(SUBSCRIBE, Buffer.from([0, 1]), filter, Buffer.from([1])));
    await connected;
  }

  /** A whole PUBLISH at QoS 1, ready to be written. */
  frame(verb: UpVerb, payload: Uint8Array, peer?: Uint8Array): Buffer {
    this.#packetId = (this.#packetId % 0xffff) + 1;
    const topic = upTopic(this.#approver.key.id, this.#signer.key.id, verb, peer);
    const id = Buffer.from([this.#packetId >> 8, this.#packetId & 0xff]);
    return packet(PUBLISH_QOS1, string(topic), id, payload);
  }

  send(frame: Buffer): void {
    this.published += 1;
    this.socket.write(frame);
  }

  /** Says something and resolves with the next message of this verb. */
  ask(verb: UpVerb, payload: Uint8Array, answerVerb: string): Promise<Buffer> {
    return new Promise((resolve) => {
      const { onMessage } = this;
      this.onMessage = (heard, answer) => {
        if (heard !== answerVerb) return;
        this.onMessage = onMessage;
        resolve(answer);
      };
      this.send(this.frame(verb, payload));
    });
  }

  close(): void {
    this.socket.destroy();
  }

  #take(chunk: Buffer): void {
    const input = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (;;) {
      let length = 0;
      let shift = 0;
      let body = at + 1;
      while (body < input.length && shift < 28) {
        const byte = input[body]!;
        length += (byte & 0x7f) << shift;
        shift += 7;
        body += 1;
        if (byte < 0x80) break;
      }
      const isWhole = shift > 0 && input[body - 1]! < 0x80 && body + length <= input.length;
      if (!isWhole) break;
      this.#packet(input[at]! >> 4, input.subarray(body, body + length));
      at = body + length;
    }
    this.#rest = input.subarray(at);
  }

  #packet(type: number, body: Buffer): void {
    if (type === PUBACK_TYPE) this.acknowledged += 1;
    else if (type === CONNACK_TYPE) this.#onConnack();
    else if (type === PUBLISH_TYPE) {
      const topicEnd = 2 + body.readUInt16BE(0);
      const verb = body.toString('latin1', body.lastIndexOf(0x2f, topicEnd - 1) + 1, topicEnd);
      this.onMessage(verb, body.subarray(topicEnd));
    }
  }
}
