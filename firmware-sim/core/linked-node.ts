import type { TrustBook } from '../../agent/core/trust.ts';
import { fromHex } from '../../protocol/bytes.ts';
import { SimNode, type Mail } from './sim-node.ts';

/** A start's own copy of what its node has learnt. */
export function copyBook(book: TrustBook): TrustBook {
  return {
    ...book,
    payees: new Map(book.payees),
    approvers: new Map(book.approvers),
    tariffs: new Map(book.tariffs),
    parts: new Map(book.parts),
  };
}

const MIN_WAKE_MS = 0.01;

/** A device with one link to a gateway at a time; it comes and goes with gateways, cuts and moves. */
export abstract class LinkedNode extends SimNode {
  /** Where the device is: the gateway whose radio it hears. */
  #near: string | undefined;
  #link: string | undefined;
  #wake = 0;

  /** Name of the gateway that this device is connected to. */
  get linkedTo(): string | undefined {
    return this.#link;
  }

  /** Drives to a gateway; the link comes up as soon as both are up. */
  moveTo(gateway: string): void {
    if (this.#near === gateway && this.#link === gateway) return;
    this.dropLink();
    this.#near = gateway;
    this.tryLink();
  }

  /** The connection broke: cut, gateway gone, or the device moved. */
  dropLink(): void {
    if (this.#link === undefined) return;
    this.#link = undefined;
    this.log('link down');
    if (this.isUp) this.unlinked();
  }

  /** One attempt to connect; nothing happens where it cannot be. */
  tryLink(): void {
    const gateway = this.#near;
    if (!this.isUp || this.#link !== undefined || gateway === undefined) return;
    const node = this.world.nodeOf(gateway);
    const { net } = this.world;
    if (!node?.isUp || net.isCut(this.name, gateway) || net.isCut(gateway, this.name)) return;
    this.#link = gateway;
    this.log(`link ${gateway}`);
    this.linked(fromHex(node.idHex));
  }

  override receive(from: string, mail: Mail): void {
    if (this.isUp && from === this.#link) this.inbox(mail);
  }

  protected sendUp(mail: Mail): void {
    if (this.#link !== undefined) this.world.net.send(this.name, this.#link, mail);
  }

  /** Later calls replace earlier ones. */
  protected wakeAt(monotonicMs: number, run: () => void): void {
    this.#wake += 1;
    const wake = this.#wake;
    // Like a real timer never early: a sum of fractions may round to a moment before.
    this.later(Math.max(0, monotonicMs - this.now().monotonicMs) + MIN_WAKE_MS, () => {
      if (this.#wake === wake) run();
    });
  }

  protected override fallen(): void {
    this.#link = undefined;
    this.forget();
  }

  protected abstract linked(approver: Uint8Array): void;
  protected abstract unlinked(): void;
  protected abstract inbox(mail: Mail): void;
  /** Memory is gone. */
  protected abstract forget(): void;
}
