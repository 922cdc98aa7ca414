import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import {
  BIN,
  runToEnd,
  SERVER,
  scratchDirectory,
  type TwoHosts,
  tunconnector,
  twoHosts,
} from './cli-world.ts';

const unprivileged = [
  'setpriv',
  '--bounding-set=-all',
  '--inh-caps=-all',
  '--reuid=65534',
  '--regid=65534',
  '--clear-groups',
];

describe.skipIf(needs('netns', 'tun', 'ip', 'root', 'setpriv'))('a mistake', () => {
  let hosts: TwoHosts;
  let host: Host;
  let before: string;
  let directory: Awaited<ReturnType<typeof scratchDirectory>>;

  beforeAll(async () => {
    hosts = await twoHosts();
    host = hosts.client;
    directory = await scratchDirectory();
    await writeFile(`${directory.path}/typo.yaml`, 'mode: server\ninprot: 5\n');
    await writeFile(`${directory.path}/wrong.json`, '{"mode": "server", "serverip": ["10.0.0.2", "10.0.0"]}');
    await host.ip('link add taken type veth peer name other');
    before = await host.snapshot();
  });
  afterAll(async () => {
    await directory[Symbol.asyncDispose]();
    await hosts[Symbol.asyncDispose]();
  });

  it.each<[words: string, code: number, line: RegExp]>([
    ['--serverinterfce x', 2, /unknown option --serverinterfce; did you mean --serverinterface\?/],
    ['-z', 2, /unknown option -z; tunconnector --help lists the options/],
    [
      '-m server -s 10.0.0.256',
      2,
      /-s\/--serverip: found "10\.0\.0\.256", expected an address like 10\.0\.0\.2/,
    ],
    [
      '-m server -i 192.168.6.9',
      2,
      /-i\/--inport: found "192\.168\.6\.9", expected a port; did you mean -r 192\.168\.6\.9\?/,
    ],
    ['-m client -r 10.1.1.1 -i', 2, /-i needs a port/],
    ['-m client', 2, /-r\/--remoteip is missing: where is the server\?; give -r HOST/],
    ['-m server -r 10.1.1.1', 2, /-r\/--remoteip is for a client, and the mode is server/],
    [
      '-m server -p sixteen-bytes-xy',
      2,
      /-p\/--serverinterface: found "sixteen-bytes-xy", expected .* at most 15 bytes/,
    ],
    ['-m server -p taken', 5, /the TUN "taken" exists already and is neither TUN nor TAP .*; choose another/],
    ['-m server -p lo', 5, /the TUN "lo" exists already and is neither TUN nor TAP .*; choose another/],
    [
      '-m server --listen 203.0.113.77 -i 4000',
      5,
      /203\.0\.113\.77.* is not an address of this machine.*; bind to an address/,
    ],
    [
      '-m client -r no-such-host.invalid',
      4,
      /the host name "no-such-host\.invalid" does not resolve \(\w+\); check the name/,
    ],
    ['--config DIR/typo.yaml', 2, /DIR\/typo\.yaml: found the unknown key "inprot"; did you mean "inport"\?/],
    ['--config DIR/wrong.json', 2, /DIR\/wrong\.json: serverip\.1: found "10\.0\.0", expected an address/],
    ['--config DIR/none.yaml', 2, /DIR\/none\.yaml: cannot be read \(ENOENT\); check the path of --config/],
    ['-m server --user no-such-user', 2, /--user: there is no user "no-such-user"; getent passwd lists them/],
    ['-m server --pcap DIR/none/x.pcapng', 5, /DIR\/none\/x\.pcapng cannot be written \(ENOENT\)/],
    ['-m server -s 10.0.0.0/24', 2, /found "10\.0\.0\.0\/24", .* the network 10\.0\.0\.0\/24 itself/],
    ['completionn', 2, /unknown command "completionn"; did you mean completion\?/],
    ['-m server tun0', 2, /unexpected "tun0"; options begin with "-"/],
    [
      '-m client -c 10.0.0.3 -r 192.168.6.9 --route 10.0.0.0/24',
      5,
      /ip route add 10\.0\.0\.0\/24 dev tun0: File exists/,
    ],
  ])('"%s" ends with %i and one line', async (words, code, line) => {
    const result = await runToEnd(host, words.replaceAll('DIR', directory.path));
    const stderr = result.stderr.replaceAll(directory.path, 'DIR');
    expect(stderr).toMatch(line);
    expect(stderr).toMatch(/^tunconnector: .*\n$/);
    expect(stderr.split('\n')).toHaveLength(2);
    expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: '' });
    expect(await host.snapshot()).toBe(before);
  });

  it('a taken port is named, with what shows who has it', async () => {
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    const { code, stderr } = await runToEnd(hosts.server, '-m server -p tun2 -s 10.0.1.2 -i 55555');
    expect(stderr).toBe(
      'tunconnector: port 55555 is taken by another program; ' +
        'choose another, or end that program (ss -lnptu | grep 55555 shows it)\n',
    );
    expect(code).toBe(5);
  });

  it('a missing /dev/net/tun is named with the remedy', async () => {
    const hide = 'mount -t tmpfs none /dev/net && exec "$0" "$@"';
    const argv = ['unshare', '--mount', 'sh', '-c', hide, process.execPath, BIN, '-m', 'server'];
    const { code, stderr } = await host.exec(argv);
    expect(stderr).toMatch(/^tunconnector: .*\/dev\/net\/tun.*; load the module \(modprobe tun\).*\n$/);
    expect(code).toBe(5);
    expect(await host.snapshot()).toBe(before);
  });

  it('without permission it says what would help', async () => {
    const argv = [...unprivileged, '--', process.execPath, '--version'];
    expect((await host.exec(argv)).code).toBe(0);
    const { code, stderr } = await host.exec([
      ...['setpriv', '--bounding-set=-net_admin,-sys_admin', '--inh-caps=-all', '--'],
      ...[process.execPath, BIN, '-m', 'server'],
    ]);
    expect(stderr).toMatch(
      /^tunconnector: .*not permitted.*; run it as root, or give it CAP_NET_ADMIN, or use --rootless\n$/,
    );
    expect(code).toBe(3);
    const words = ['stack', 'up', '--tun', 'st0', '--address', '10.9.0.2/24'];
    const other = await host.exec([
      ...['setpriv', '--bounding-set=-net_admin,-sys_admin', '--inh-caps=-all', '--'],
      ...[process.execPath, BIN, ...words],
    ]);
    expect(other.stderr).toMatch(
      /^tunconnector: .*not permitted.*; run it as root, or give it CAP_NET_ADMIN\n$/,
    );
    expect(other.code).toBe(3);
    expect(await host.snapshot()).toBe(before);
  });

  it('who cannot become another user is told to start as root', async () => {
    const argv = [
      'setpriv',
      '--bounding-set=-setuid,-setgid',
      '--inh-caps=-all',
      '--',
      process.execPath,
      BIN,
    ];
    const { code, stderr } = await host.exec([...argv, '-m', 'server', '--user', 'nobody']);
    expect(stderr).toBe('tunconnector: --user: cannot become nobody (EPERM); start it as root\n');
    expect(code).toBe(3);
    expect(await host.snapshot()).toBe(before);
  });

  it('a capture that is not permitted leaves the file as it was', async () => {
    const file = `${directory.path}/kept.pcapng`;
    await writeFile(file, 'kept');
    const { code, stderr } = await host.exec([
      ...['setpriv', '--bounding-set=-net_raw,-net_admin,-sys_admin', '--inh-caps=-all', '--'],
      ...[process.execPath, BIN, 'capture', 'taken', file],
    ]);
    expect(stderr).toMatch(
      /^tunconnector: capturing "taken" is not permitted .*; run it as root.*CAP_NET_RAW\n$/,
    );
    expect(code).toBe(3);
    expect(await readFile(file, 'utf8')).toBe('kept');
  });

  it('a client that is refused beside a server of the same process ends it with 4', async () => {
    await using server = tunconnector(hosts.server, '-m server -s 10.0.0.2 -i 55555');
    await server.waitFor('is up');
    const words = `-s 10.4.0.1 -c 192.168.0.2 -r ${SERVER}`;
    const { code, stdout, stderr } = await runToEnd(host, words);
    expect(stderr).toBe(
      `tunconnector: the server ${SERVER}:55555 refused: 192.168.0.2 is outside of 10.0.0.0/24; ` +
        "choose from the server's networks (-c, --announce), or give the server a --route for it\n",
    );
    expect(stdout).not.toContain('still trying');
    expect(stdout).toContain('tun1: server on UDP port 55556');
    expect(code).toBe(4);
  });

  it('a client that was never answered ends with its report too', async () => {
    const client = tunconnector(host, '-m client -c 10.0.0.3 -r 192.168.6.77');
    await client.waitFor('no answer from');
    const { code } = await client.stop('SIGINT');
    expect(client.stdout).toMatch(
      /tun0: client of 192\.168\.6\.77:55555, up for .*, not connected at the end/,
    );
    expect(code).toBe(0);
  });

  it('a failure while it runs ends it with 1 and the report', async () => {
    const server = tunconnector(hosts.server, `-m server -p tun3 -s 10.0.3.2 -i 4003 --listen ${SERVER}`);
    await server.waitFor('is up');
    await hosts.server.ip('link del tun3');
    const { code } = await server.ended;
    expect(server.stderr).toMatch(
      /^tunconnector: the TUN "tun3" failed .*; did somebody delete it\? Start again\n$/,
    );
    expect(server.stdout).toContain('into the tunnel');
    expect(code).toBe(1);
  });
});
