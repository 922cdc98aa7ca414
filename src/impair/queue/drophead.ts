/**
 * `queue drophead`: first in, first out; when the queue is full the packet that has waited longest is dropped, so that its
 * sender hears of the congestion a queue's length earlier.
 */
import { ImpairDrop } from '../reasons.ts';
import { runLength } from './backlog.ts';
import { Discipline, type QueueLimits, type QueueOwner } from './discipline.ts';

export class DropHead extends Discipline {
  constructor(owner: QueueOwner, options: QueueLimits) {
    super(owner, 1);
    this.limits(options);
  }

  reconfigure(options: QueueLimits): boolean {
    this.limits(options);
    return true;
  }

  offer(packet: number, first: number, end: number, header: number, size: number): void {
    if (this.fits(end - first, runLength(this.pool.length[packet], header, size, first, end))) {
      this.addTo(0, packet, first, end, header, size);
      return;
    }
    const { backlog } = this;
    for (let s = first; s < end; s++) {
      this.addTo(0, packet, s, s + 1, header, size);
      while ((this.packets > this.limit || this.bytes > this.limitBytes) && this.takeFrom(0))
        this.owner.discard(backlog.packet, backlog.segment, 1, ImpairDrop.QueueFull);
    }
  }

  take(): boolean {
    return this.takeFrom(0);
  }
}
