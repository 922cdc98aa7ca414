import { describe, expect, it } from 'vitest';
import { quiet } from '../../src/cli/command-line.ts';
import { plannedNetwork } from '../../src/cli/stack/network.ts';
import { parseNuse } from '../../src/cli/stack/nuse.ts';
import { planOf, stackCommand } from '../../src/cli/stack/stack.ts';
import { Network, VirtualRuntime } from '../../src/engine/index.ts';
import { read } from '../house/sources.ts';

const classic = `
# two interfaces
interface eth0
	address 192.168.209.39
	netmask 255.255.255.0
	macaddr 00:01:01:01:01:02
	viftype RAW
interface tap1
	address 10.0.0.1
	netmask 255.0.0.0
	viftype TAP

route
	network 0.0.0.0
	netmask 0.0.0.0
	gateway 192.168.209.1
`;

describe('a nuse.conf', () => {
  it('says interfaces and routes', () => {
    expect(parseNuse(classic, 'nuse.conf')).toEqual({
      interfaces: [
        { kind: 'interface', name: 'eth0', addresses: ['192.168.209.39/24'], mac: '00:01:01:01:01:02' },
        { kind: 'tap', name: 'tap1', addresses: ['10.0.0.1/8'] },
      ],
      routes: [{ to: '0.0.0.0/0', via: '192.168.209.1' }],
    });
  });

  it('is what the page shows', () => {
    const [, shown] = /```text\n(interface eth0[\s\S]*?)```/.exec(read('docs/cli.md'))!;
    expect(parseNuse(shown!, 'x').interfaces[0]).toMatchObject({ kind: 'interface', name: 'eth0' });
  });

  it.each<[string, RegExp]>([
    ['', /found no interface/],
    ['address 1.2.3.4', /:1: found "address", expected interface or route/],
    ['interface a\naddress 1.2.3.4\nviftype PIPE', /viftype PIPE, expected one of RAW, TAP, TUN/],
    ['interface a\nmtu 9', /:2: found "mtu", expected one of address, netmask, macaddr, viftype/],
    ['interface a', /interface a has no address/],
    ['interface a\naddress 1.2.3', /not an IPv4 address/],
    ['interface a\naddress 1.2.3.4\nnetmask 255.0.255.0', /has a gap/],
    ['interface a\naddress 1.2.3.4\naddress 1.2.3.5', /:3: found address twice/],
    ['interface a\naddress 1.2.3.4\ninterface a\naddress 1.2.3.5', /:3: found the interface "a" twice/],
    [
      'interface a\naddress 1.2.3.4\nroute\nnetwork 0.0.0.0',
      /:3: a route has a network, a netmask and a gateway/,
    ],
    ['interface a\naddress 1.2.3.4\nviftype TUN\nmacaddr 02:00:00:00:00:01', /a TUN does not have/],
    ['interface a b c', /expected a keyword and its value/],
  ])('that is wrong is told with its line: %j', (text, message) => {
    expect(() => parseNuse(text, 'nuse.conf')).toThrow(message);
  });

  it('can be set up', async () => {
    const { config, neighbours, ports } = plannedNetwork(parseNuse(classic, 'nuse.conf'), {
      forward: true,
      echo: true,
      nameservers: [],
    });
    expect([...neighbours.keys()]).toEqual(['eth0', 'tap1']);
    expect(ports).toEqual(['port-eth0', 'port-tap1']);
    // The devices need root; the rest of the network is as it will be.
    const net = new Network(new VirtualRuntime({ seed: 1 }));
    for (const [name, app] of Object.entries(config.apps)) if (!ports.includes(name)) net.app(name, app);
    for (const link of config.links) if (!link.includes('port-')) net.link(link);
    await net.start();
    await net.close();
  });
});

describe('the options of stack up', () => {
  const plan = (words: string) => {
    const command = quiet(stackCommand()).action(() => {});
    command.parse(words.split(' '), { from: 'user' });
    return planOf(command.opts());
  };

  it('say where it is and who', () => {
    expect(
      plan('up --tun st0 --address 10.9.0.2/24 --address fd00::2/64 --host-address 10.9.0.1/24'),
    ).toEqual({
      interfaces: [
        {
          kind: 'tun',
          name: 'st0',
          addresses: ['10.9.0.2/24', 'fd00::2/64'],
          hostAddresses: ['10.9.0.1/24'],
          dhcp: false,
        },
      ],
      routes: [],
    });
  });

  it('of the examples are understood', () => {
    let help = '';
    quiet(stackCommand())
      .configureOutput({ writeOut: (text) => void (help += text) })
      .outputHelp();
    const joined = help.replace(/\\\n */g, '');
    const lines = [...joined.matchAll(/^ {2}tunconnector stack (.*)$/gm)].map(([, words]) => words!);
    expect(lines.length).toBe(4);
    for (const line of lines.filter((each) => !each.includes('--nuse')))
      expect(plan(line).interfaces).toHaveLength(1);
  });

  it.each([
    ['up --address 10.9.0.2/24', /give one of --tun, --tap, --interface and --nuse/],
    ['up --tun a --tap b --address 10.9.0.2/24', /give one of/],
    ['up --tun a', /give --address/],
    ['up --tun a --dhcp', /--dhcp goes with --tap and --interface/],
    ['up --tun a --address 10.9.0.2/24 --mac 02:00:00:00:00:01', /--mac goes with/],
    ['up --interface a --address 10.9.0.2/24 --host-address 10.9.0.1/24', /goes with --tun and --tap/],
    ['up --tun a --address 10.9.0.2/24 --mtu 9', /expected 68 to 65535/],
    ['up --nuse x --tun a', /--tun does not go with it/],
    ['up --nuse /nowhere', /cannot read \/nowhere \(ENOENT\)/],
  ])('that do not fit are told: %s', (words, message) => {
    expect(() => plan(words)).toThrow(message);
  });
});
