import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/cli/config-file.ts';
import { allCommands } from '../../src/cli/main.ts';
import { OPTION_NAMES, type OptionName, parseOption, type Settings, specOf } from '../../src/cli/options.ts';
import { tunnelOptions } from '../../src/cli/settings.ts';
import { editDistance, suggestion } from '../../src/cli/suggest.ts';
import { checkTunnelOptions } from '../../src/tunnel/connector/options.ts';
import { read } from '../house/sources.ts';

const parse = (name: OptionName, ...texts: string[]) => parseOption(name, texts, `--${name}`);
const messageOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as Error).message;
  }
  return 'nothing was wrong';
};

describe('the help', () => {
  it('fits into 80 columns', async () => {
    for (const command of (await allCommands()).values()) {
      let text = '';
      command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 80 });
      command.outputHelp();
      expect(text).toContain('Usage: tunconnector');
      expect(text.split('\n').filter((line) => line.length > 80)).toEqual([]);
    }
  });
});

describe('options', () => {
  it('an address without a prefix length means /24, and /64 for IPv6', () => {
    expect(parse('serverip', '10.0.0.2')).toEqual(['10.0.0.2/24']);
    expect(parse('clientip', '10.0.0.2/16,fd00::2', 'fd01::1/48')).toEqual([
      '10.0.0.2/16',
      'fd00::2/64',
      'fd01::1/48',
    ]);
  });

  it('both addresses of the longest prefixes are hosts', () => {
    expect(parse('serverip', '10.0.0.0/31', '10.0.0.1/31', '10.0.0.255/32', 'fd00::/127')).toHaveLength(4);
  });

  it('an address given as the port is recognised as the remote address', () => {
    const expected = '--inport: found "192.168.6.9", expected a port; did you mean -r 192.168.6.9?';
    expect(messageOf(() => parse('inport', '192.168.6.9'))).toBe(expected);
    expect(messageOf(() => parse('outport', 'vpn.example.org'))).toContain(
      'did you mean -r vpn.example.org?',
    );
    expect(messageOf(() => parse('remoteip', '10.1.1.1:55555'))).toContain(
      'did you mean -r 10.1.1.1 -o 55555?',
    );
    expect(messageOf(() => parse('remoteip', '[fd00::1]:5'))).toContain('did you mean -r fd00::1 -o 5?');
  });

  it.each<[OptionName, string, string]>([
    ['inport', '0', 'a port, 1 to 65535'],
    ['inport', '65536', 'a port, 1 to 65535'],
    ['inport', '055', 'a port, 1 to 65535'],
    ['serverip', '10.0.0.256', 'an address like 10.0.0.2 or fd00::2/64 (part 4'],
    ['serverip', '10.0.0.2/33', 'an address like'],
    ['serverip', '10.0.0.0/24', '(it is the network 10.0.0.0/24 itself)'],
    ['serverip', 'fd00::/64', '(it is the network fd00::/64 itself)'],
    ['clientip', '10.0.0.255', '(it is the broadcast address of 10.0.0.0/24)'],
    ['serverip', '0.0.0.0', '(it stands for no address at all)'],
    ['serverip', '127.0.0.1', '(it is a loopback address)'],
    ['clientip', 'ff02::1', '(it is a multicast address)'],
    ['serverinterface', '', 'an interface name'],
    ['route', '10.0.0.1/8', 'it has host bits, the network is 10.0.0.0/8'],
    ['route', '10.0.0.0/8@a@b', 'a network and an interface like 10.0.0.0/8@tun1'],
    ['serverinterface', 'sixteen-bytes-xy', 'an interface name of at most 15 bytes'],
    ['clientinterface', 'a b', 'an interface name without spaces'],
    ['mtu', '67', 'a whole number, 68 to 65535'],
    ['snaplen', '0', 'a whole number, 1 to 1048576'],
    ['thread', 'both', 'worker or main'],
    ['mtu', '1e3', 'a whole number'],
    ['mode', 'Server', 'client, server or both'],
    ['format', 'tcp', 'udp, raw or stream'],
    ['keepalive', '1', 'a time like 1s or 500ms'],
    ['keepalive', '1m', 'a time from 100ms to 30s'],
    ['stats', '0', 'seconds'],
    ['remoteip', '1.2.3', 'an address or a host name'],
    ['remoteip', 'a b', 'an address or a host name'],
    ['remoteip', '', 'an address or a host name'],
    ['max-clients', '0', 'a whole number, 1 to 2048'],
  ])('--%s %s is refused with what was expected', (name, text, expected) => {
    const message = messageOf(() => parse(name, text));
    expect(message).toContain(`--${name}: found "${text}", expected `);
    expect(message).toContain(expected);
  });

  it('are all in the manual, with their default', () => {
    const manual = read('docs/cli.md');
    for (const name of OPTION_NAMES) {
      const { short, value, default: usual } = specOf(name);
      const flags = `${short ? `-${short}, ` : ''}--${name}${value ? ` ${value}` : ''}`;
      expect(manual).toContain(`\`${flags}\``);
      if (usual) expect(manual.split(`\`${flags}\``)[1]!.split('\n')[0]).toContain(`\`${usual}\``);
    }
  });
});

describe('what is asked of the tunnel', () => {
  const asked = (settings: Settings) => checkTunnelOptions(tunnelOptions(settings));

  it('defaults to both ends with the addresses and ports of old', () => {
    expect(asked({ remoteip: '10.1.1.1' })).toMatchObject({
      format: 'udp',
      layer: 'L3',
      server: { interface: 'tun1', addresses: ['192.168.1.2/24'], port: 55556 },
      client: { interface: 'tun0', addresses: ['192.168.0.2/24'], port: 55555, remote: '10.1.1.1' },
    });
  });

  it.each<[Settings, string]>([
    [{}, '-r/--remoteip is missing'],
    [{ mode: 'client' }, '-r/--remoteip is missing'],
    [{ mode: 'server', remoteip: '10.1.1.1' }, '-r/--remoteip is for a client, and the mode is server'],
    [{ mode: 'client', remoteip: 'a', nat: true }, '--nat is for a server, and the mode is client'],
    [{ mode: 'server', format: 'raw', allow: ['10.0.0.0/8'] }, '--allow has no effect with --format raw'],
    [{ mode: 'server', format: 'stream', 'no-gso': true }, '--no-gso has no effect with --format stream'],
    [
      { mode: 'server', route: [{ prefix: 'default', interface: undefined }] },
      '--route default is for a client',
    ],
    [
      { mode: 'server', route: [{ prefix: '10.0.0.0/8', interface: 'tun7' }] },
      '--route: found the interface "tun7", expected tun1',
    ],
    [{ remoteip: 'a', serverinterface: 'x', clientinterface: 'x' }, 'are both x'],
    [{ mode: 'server', serverip: ['fd00::2/64'], mtu: 1279 }, 'expected at least 1280'],
    [{ mode: 'server', snaplen: 128 }, '--snaplen has no effect without --pcap'],
    [{ mode: 'server', rootless: true, nat: true }, '--nat does not go with --rootless'],
    [{ mode: 'server', rootless: true, user: 'nobody' }, '--user has no effect with --rootless'],
  ])('%j is refused: %s', (settings, why) => {
    expect(messageOf(() => tunnelOptions(settings))).toContain(why);
  });

  it('in mode both a route is the client’s, unless it names the server’s interface', () => {
    const route = [
      { prefix: '10.1.0.0/16', interface: undefined },
      { prefix: '10.2.0.0/16', interface: 'tun1' },
      { prefix: 'default', interface: 'tun0' },
    ];
    const { server, client } = asked({ remoteip: 'a', route });
    expect(client!.routes).toEqual(['10.1.0.0/16', 'default']);
    expect(server!.routes).toEqual(['10.2.0.0/16']);
  });
});

describe('a configuration file', () => {
  it('has the long options as keys, in YAML and in JSON', () => {
    const yaml = [
      'mode: both',
      'serverip: [10.0.0.2, fd00::2]',
      'inport: 55555',
      'keepalive: 500ms',
      'tap: true',
      'json: false',
    ].join('\n');
    const settings = {
      mode: 'both',
      serverip: ['10.0.0.2/24', 'fd00::2/64'],
      inport: 55555,
      keepalive: 500,
      tap: true,
    };
    expect(parseConfig(yaml, 'a.yaml')).toEqual(settings);
    const json = JSON.stringify({ ...settings, keepalive: '500ms' });
    expect(parseConfig(json, 'a.json')).toEqual(settings);
    expect(parseConfig('', 'empty.yaml')).toEqual({});
  });

  it.each([
    ['inprot: 5', 't.yaml: found the unknown key "inprot"; did you mean "inport"?'],
    ['colour: red', 't.yaml: found the unknown key "colour", expected one of mode, '],
    ['config: a', 't.yaml: found the unknown key "config"'],
    ['inport: x', 't.yaml: inport: found "x", expected a port, 1 to 65535'],
    ['inport: [1, 2]', 't.yaml: inport: found [1,2], expected one value'],
    ['inport: {a: 1}', 't.yaml: inport: found {"a":1}, expected text or a number'],
    ['serverip: [10.0.0.1, 10.0.0]', 't.yaml: serverip.1: found "10.0.0", expected an address'],
    ['tap: "yes"', 't.yaml: tap: found "yes", expected true or false'],
    ['- a', 't.yaml: found ["a"], expected keys and values'],
    ['a: [1', 't.yaml, line 1: '],
    ['mode: server\nmode: client', 't.yaml, line 2: '],
  ])('%j is refused in one line', (text, message) => {
    const found = messageOf(() => parseConfig(text, 't.yaml'));
    expect(found).toContain(message);
    expect(found).not.toContain('\n');
  });
});

describe('suggestions', () => {
  it('count edits, and neighbours that changed places as one', () => {
    expect(editDistance('', 'abc')).toBe(3);
    expect(editDistance('inprot', 'inport')).toBe(1);
    expect(editDistance('kitten', 'sitting')).toBe(3);
  });

  it('name the nearest word or nothing', () => {
    expect(suggestion('serverinterfce', OPTION_NAMES)).toBe('serverinterface');
    expect(suggestion('max_clients', OPTION_NAMES)).toBe('max-clients');
    expect(suggestion('server', ['serverip', 'inport'])).toBe('serverip');
    expect(suggestion('xyzzy', OPTION_NAMES)).toBeUndefined();
  });
});
