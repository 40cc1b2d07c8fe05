import type { Checker } from './checkers.ts';
import { Machine, type MachineWorld } from './machine.ts';
import type { Seed } from './seed.ts';
import type { VirtualDisk } from './virtual-disk.ts';
import type { VirtualNet } from './virtual-net.ts';

/** A message on the virtual network: what the transport would show beside the payload. */
export interface Mail {
  /** Key id of the sender, as the transport proves it. */
  readonly senderHex: string;
  readonly verb: string;
  readonly payload: Uint8Array;
  /** Present on relayed verbs: whose inbox it is for. */
  readonly peerHex?: string;
}

/** Everything the nodes of one world share. */
export interface World extends MachineWorld {
  readonly net: VirtualNet<Mail>;
  readonly disk: VirtualDisk;
  readonly checker: Checker;
  /** The node with this key id that is connected to this gateway. */
  nameOf(idHex: string, gateway: string): string | undefined;
  /** A gateway fell: its connections break. */
  gatewayFell(gateway: string): void;
  nodeOf(name: string): SimNode | undefined;
}

/** A machine that devices and gateways speak to by its key id. */
export abstract class SimNode extends Machine<World> {
  readonly idHex: string;

  constructor(world: World, seed: Seed, name: string, idHex: string) {
    super(world, seed, name);
    this.idHex = idHex;
  }

  abstract receive(from: string, mail: Mail): void;
}
