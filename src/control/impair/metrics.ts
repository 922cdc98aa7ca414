/** What a link does, for Prometheus: the stats of the moment in which it asks. */
import { Counter, type CounterConfiguration, Gauge, Registry } from 'prom-client';
import { SECOND } from '../../engine/units.ts';
import type { DirectionStats, RuleStats, StageStats } from './contract.ts';
import type { ImpairedLink } from './link.ts';
import type { Streams } from './stream.ts';

type Passed = Pick<StageStats, 'packets' | 'bytes' | 'packetsOut' | 'bytesOut'>;
type Labels = Record<string, string>;

export class Metrics {
  readonly contentType: string;
  readonly #registry = new Registry();
  readonly #link: ImpairedLink;
  readonly #streams: Streams;
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  #asked: Promise<string> | undefined;

  constructor(link: ImpairedLink, streams: Streams) {
    this.#link = link;
    this.#streams = streams;
    this.contentType = this.#registry.contentType;
    const rule = ['direction', 'rule'];
    const stage = [...rule, 'stage', 'kind'];
    this.#counter('rule_packets_total', 'wire packets that came', rule);
    this.#counter('rule_bytes_total', 'bytes that came', rule);
    this.#counter('rule_sent_packets_total', 'wire packets that left', rule);
    this.#counter('rule_sent_bytes_total', 'bytes that left', rule);
    this.#counter('rule_dropped_packets_total', 'wire packets that were dropped', rule);
    this.#counter('rule_delay_seconds_total', 'what all packets that left took, in all', rule);
    this.#gauge('rule_held_packets', 'packets that are delayed or wait now', rule);
    this.#counter('stage_dropped_packets_total', 'wire packets that were dropped, by reason', [
      ...stage,
      'reason',
    ]);
    this.#gauge('stage_waiting_packets', 'wire packets in the queue now', stage);
    this.#gauge('stage_waiting_bytes', 'bytes in the queue now', stage);
    this.#gauge('stage_lateness_p99_seconds', 'how late after their time packets leave', stage);
    this.#gauge('flows', 'flows that are told apart', ['direction']);
    this.#counter('flows_evicted_total', 'flows that were forgotten', ['direction']);
    this.#gauge('spec_revision', 'the revision of the spec', []);
    this.#gauge('streams', 'streams that are open', []);
    this.#counter('stream_messages_total', 'messages that were sent', []);
    this.#counter('stream_skipped_messages_total', 'messages that slow readers did not get', []);
    this.#counter('stream_late_readers_total', 'readers that were disconnected', []);
  }

  /** In the text format. Who asks again before the answer is there gets the same answer. */
  text(): Promise<string> {
    this.#asked ??= this.#collect().finally(() => {
      this.#asked = undefined;
    });
    return this.#asked;
  }

  async #collect(): Promise<string> {
    const { revision, up, down } = await this.#link.stats();
    this.#registry.resetMetrics();
    this.#set('spec_revision', {}, revision);
    this.#set('streams', {}, this.#streams.size);
    const { messages, skipped, late } = this.#streams.counts;
    this.#set('stream_messages_total', {}, messages);
    this.#set('stream_skipped_messages_total', {}, skipped);
    this.#set('stream_late_readers_total', {}, late);
    this.#direction('up', up);
    this.#direction('down', down);
    return this.#registry.metrics();
  }

  #direction(direction: string, { flows, rules }: DirectionStats): void {
    this.#set('flows', { direction }, flows.known);
    this.#set('flows_evicted_total', { direction }, flows.evicted);
    for (const rule of rules) this.#rule(direction, rule);
  }

  #rule(direction: string, { label, stages, dropped, delay, held, ...passed }: RuleStats): void {
    const labels = { direction, rule: label };
    const { packets, bytes, packetsOut, bytesOut }: Passed = passed;
    this.#set('rule_packets_total', labels, packets);
    this.#set('rule_bytes_total', labels, bytes);
    this.#set('rule_sent_packets_total', labels, packetsOut);
    this.#set('rule_sent_bytes_total', labels, bytesOut);
    this.#set('rule_dropped_packets_total', labels, dropped);
    this.#set('rule_delay_seconds_total', labels, delay / SECOND);
    this.#set('rule_held_packets', labels, held);
    for (const { name, kind, drops, waiting, waitingBytes, lateness } of stages) {
      const stage = { ...labels, stage: name, kind };
      for (const [reason, packets] of Object.entries(drops))
        this.#set('stage_dropped_packets_total', { ...stage, reason }, packets);
      if (waiting !== undefined) this.#set('stage_waiting_packets', stage, waiting);
      if (waitingBytes !== undefined) this.#set('stage_waiting_bytes', stage, waitingBytes);
      if (lateness.count > 0) this.#set('stage_lateness_p99_seconds', stage, lateness.p99 / SECOND);
    }
  }

  #counter(name: string, help: string, labelNames: string[]): void {
    this.#counters.set(name, new Counter(this.#named(name, help, labelNames)));
  }

  #gauge(name: string, help: string, labelNames: string[]): void {
    this.#gauges.set(name, new Gauge(this.#named(name, help, labelNames)));
  }

  #named(name: string, help: string, labelNames: string[]): CounterConfiguration<string> {
    return { name: `tunconnector_impair_${name}`, help, labelNames, registers: [this.#registry] };
  }

  /** After a reset: a counter takes what was counted elsewhere. A rule that leaves and one that comes may have one label. */
  #set(name: string, labels: Labels, value: number): void {
    this.#counters.get(name)?.inc(labels, value);
    this.#gauges.get(name)?.inc(labels, value);
  }
}
