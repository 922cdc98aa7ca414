/** `queue droptail`: first in, first out; what finds the queue full is dropped. The queue of most links there are. */
import { ImpairDrop } from '../reasons.ts';
import { Discipline, type QueueLimits, type QueueOwner } from './discipline.ts';

export class DropTail extends Discipline {
  constructor(owner: QueueOwner, options: QueueLimits) {
    super(owner, 1);
    this.limits(options);
  }

  reconfigure(options: QueueLimits): boolean {
    this.limits(options);
    return true;
  }

  offer(packet: number, first: number, end: number, header: number, size: number): void {
    this.addToTail(packet, first, end, header, size, ImpairDrop.QueueFull);
  }

  take(): boolean {
    return this.takeFrom(0);
  }
}
