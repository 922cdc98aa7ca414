/** Packets and bytes of each chain, both ways, for reports. */

/** Chains that are counted on their own; those beyond are counted together as chain 0. */
const MAX_CHAINS = 1024;

export class Counts {
  readonly #places = new Map<number, number>([[0, 0]]);
  /** By place: packets and bytes into the chain, packets and bytes out of it. */
  readonly #cells = new Float64Array(4 * (MAX_CHAINS + 1));
  #spi = 0;
  #place = 0;

  /** @param way 0 into the chain, 1 out of it @param packets a superframe has several */
  add(spi: number, way: 0 | 1, packets: number, bytes: number): void {
    if (spi !== this.#spi) this.#turn(spi);
    const at = 4 * this.#place + 2 * way;
    this.#cells[at] += packets;
    this.#cells[at + 1] += bytes;
  }

  /** Packets come in runs of one chain. */
  #turn(spi: number): void {
    let place = this.#places.get(spi);
    if (place === undefined) {
      place = this.#places.size <= MAX_CHAINS ? this.#places.size : 0;
      if (place > 0) this.#places.set(spi, place);
    }
    this.#spi = spi;
    this.#place = place;
  }

  /** `chain.7.packetsIn` and so on, of chains that had packets. */
  report(): Record<string, number> {
    const report: Record<string, number> = {};
    for (const [spi, place] of this.#places) {
      const [packetsIn, bytesIn, packetsOut, bytesOut] = this.#cells.subarray(4 * place, 4 * place + 4);
      if (packetsIn + packetsOut === 0) continue;
      report[`chain.${spi}.packetsIn`] = packetsIn;
      report[`chain.${spi}.bytesIn`] = bytesIn;
      report[`chain.${spi}.packetsOut`] = packetsOut;
      report[`chain.${spi}.bytesOut`] = bytesOut;
    }
    return report;
  }
}
