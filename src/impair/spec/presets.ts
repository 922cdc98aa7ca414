/**
 * Links by name. A delay is half of the round trip its source gives, each way. What is in front of the rate is the rate's own
 * queue (200 ms); sources that say nothing of loss have none.
 *
 *   - WebPageTest: www/settings/connectivity.ini.sample, github.com/WPO-Foundation/webpagetest (a7cf6a7). What browsers'
 *     test suites call by these names.
 *   - str0m-netem 0.2.0, docs.rs/str0m-netem: `NetemConfig::wifi`, `wifi_lossy`, `wifi_congested`. Bad states of 2
 *     packets in which all is lost, between good ones of 200, 40, ... packets: gemodel p = 1/200, r = 1/2.
 *   - APNIC, blog.apnic.net/2022/05/02: a path over a geostationary satellite has a round trip of about 600 ms;
 *     blog.apnic.net/2022/11/28 measures a subscription to one, of 100 Mbit/s down and 10 up.
 *   - Ookla, medians of Starlink in the United States in the second quarter of 2021, rcrwireless.com/20210804: 97.23 Mbit/s
 *     down, 13.89 up, 45 ms.
 */
import type { Direction } from '../match.ts';

interface Preset {
  up: string;
  down: string;
}

const WEB_PAGE_TEST =
  'WebPageTest, www/settings/connectivity.ini.sample, https://github.com/WPO-Foundation/webpagetest (a7cf6a7)';
const STR0M = 'str0m-netem 0.2.0, https://docs.rs/str0m-netem';
const APNIC = 'APNIC, https://blog.apnic.net/2022/05/02 and https://blog.apnic.net/2022/11/28';
const OOKLA = 'Ookla, second quarter of 2021, https://rcrwireless.com/20210804';

const link = (up: string, down: string, delay: string): Preset => ({
  up: `rate ${up} delay ${delay}`,
  down: `rate ${down} delay ${delay}`,
});

const same = (text: string): Preset => ({ up: text, down: text });

const BY_SOURCE = {
  [WEB_PAGE_TEST]: {
    dial: link('30kbit', '49kbit', '60ms'),
    edge: link('200kbit', '240kbit', '420ms'),
    '2g': link('256kbit', '280kbit', '400ms'),
    '3g': link('768kbit', '1.6mbit', '150ms'),
    '3g-fast': link('768kbit', '1.6mbit', '75ms'),
    '3g-slow': link('400kbit', '400kbit', '200ms'),
    '4g': link('9mbit', '9mbit', '85ms'),
    lte: link('12mbit', '12mbit', '35ms'),
    dsl: link('384kbit', '1.5mbit', '25ms'),
    cable: link('1mbit', '5mbit', '14ms'),
  },
  [STR0M]: {
    wifi: same('loss gemodel 0.5% 50% rate 100mbit delay 5ms 2ms distribution normal'),
    'wifi-lossy': same('loss gemodel 2.5% 50% rate 50mbit delay 15ms 10ms distribution normal'),
  },
  [APNIC]: { 'satellite-geo': link('10mbit', '100mbit', '300ms') },
  [OOKLA]: { 'satellite-leo': link('13.89mbit', '97.23mbit', '22.5ms') },
} as const satisfies Record<string, Record<string, Preset>>;

type BySource = typeof BY_SOURCE;
export type PresetName = { [Source in keyof BySource]: keyof BySource[Source] }[keyof BySource];

/** Who says so, and where; the stages of each direction, as text. */
export const PRESETS = Object.fromEntries(
  Object.entries(BY_SOURCE).flatMap(([source, presets]) =>
    Object.entries<Preset>(presets).map(([name, preset]) => [name, { source, ...preset }]),
  ),
) as Record<PresetName, Preset & { source: string }>;
export const PRESET_NAMES = Object.keys(PRESETS) as [PresetName, ...PresetName[]];

/** The stages of a direction, as text. */
export const presetStages = (name: PresetName, direction: Direction): string => PRESETS[name][direction];
