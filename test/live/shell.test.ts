import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CaptureReader } from '../../src/packet/capture-reader.ts';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { BIN, SERVER, scratchDirectory, twoHosts, until } from './cli-world.ts';

const NAME_SERVER = new URL('./fixtures/name-server.mjs', import.meta.url).pathname;
const PING = ['ping', '-c', '6', '-i', '0.1', '-W', '3'];

/** `tunconnector shell` with options as a person types them, and a command. */
const shell = (options: string, ...command: string[]): string[] => [
  process.execPath,
  BIN,
  'shell',
  ...options.split(' ').filter(Boolean),
  '--',
  ...command,
];

/** Milliseconds of the fastest of some pings: what the link adds, and nothing of what the machine is busy with. */
function fastest(output: string): number {
  const found = /= ([\d.]+)\/[\d.]+\/[\d.]+/.exec(output);
  if (!found) throw new Error(`no round-trip time in: ${output}`);
  return Number(found[1]);
}

async function roundTrip(host: Host, options: string, ...more: string[]): Promise<number> {
  const { stdout } = await host.exec(shell(options, ...more, ...PING, SERVER), { check: true });
  return fastest(stdout);
}

const TIME = { timeout: 30_000 };

/** What is behind the link: sockets, which is the default, or the kernel. */
const KERNEL = '--deliver kernel';
const WAYS = ['', KERNEL];

/** What starts a command for which a file is /etc/resolv.conf. */
const mountedAt = (file: string): string[] => [
  ...['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc/resolv.conf && exec "$@"'],
  file,
];

describe.skipIf(needs('netns', 'tun', 'ip', 'ping', 'nft'))('tunconnector shell', () => {
  it.each(WAYS)(
    'adds its delay each way, and nothing that a ping would see beside it (%s)',
    TIME,
    async (way) => {
      await using hosts = await twoHosts();
      const time = await roundTrip(hosts.client, `--delay 50ms ${way}`);
      expect(time).toBeGreaterThanOrEqual(100);
      // Not twice. How late a delay is, the bench of impairments says.
      expect(time).toBeLessThan(150);
    },
  );

  it('adds up-delay to what the command sends, and nothing to the way back', TIME, async () => {
    await using hosts = await twoHosts();
    const time = await roundTrip(hosts.client, '--up-delay 30ms');
    expect(time).toBeGreaterThanOrEqual(30);
    expect(time).toBeLessThan(55);
  });

  it(
    'captures what passes its link, and what is dropped with its reason, with options from a file',
    TIME,
    async () => {
      await using hosts = await twoHosts();
      await using directory = await scratchDirectory();
      const [config, file] = ['shell.yaml', 'link.pcapng'].map((name) => path.join(directory.path, name));
      await writeFile(config!, `up-loss: 50%\nseed: 7\npcap: ${file}\n`);
      const ping = ['ping', '-c', '40', '-i', '0.01', '-W', '1', SERVER];
      const { code } = await hosts.client.exec(shell(`--config ${config}`, ...ping));
      expect(code).toBe(0);
      const packets = new CaptureReader().push(await readFile(file!));
      const comments = packets.flatMap(({ comments }) => comments);
      expect(comments.length).toBeGreaterThan(5);
      expect(new Set(comments)).toEqual(new Set(['dropped: loss (up)']));
    },
  );

  it.each(WAYS)(
    'nests: the delays of a shell in a shell add up, and two side by side do not meet (%s)',
    TIME,
    async (way) => {
      await using hosts = await twoHosts();
      const [inner, outer] = await Promise.all([
        roundTrip(hosts.client, `--delay 20ms ${way}`, ...shell(`--delay 30ms ${way}`)),
        roundTrip(hosts.client, `--delay 10ms ${way}`),
      ]);
      expect(inner).toBeGreaterThanOrEqual(100);
      // None of them twice.
      expect(inner).toBeLessThan(138);
      expect(outer).toBeGreaterThanOrEqual(20);
      expect(outer).toBeLessThan(38);
    },
  );

  it.each(WAYS)('reaches IPv6 hosts where this host does (%s)', TIME, async (way) => {
    await using hosts = await twoHosts();
    await hosts.client.ip('route add default via fd06::9');
    const { stdout } = await hosts.client.exec(shell(`--delay 20ms ${way}`, ...PING, 'fd06::9'), {
      check: true,
    });
    expect(fastest(stdout)).toBeGreaterThanOrEqual(40);
  });

  it('ends as the command does: exit code, signal, no such program', TIME, async () => {
    await using hosts = await twoHosts();
    const run = (...command: string[]) => hosts.client.exec(shell('--delay 1ms', ...command));
    const [plain, killed, missing] = await Promise.all([
      run('sh', '-c', 'echo out; echo err >&2; exit 7'),
      run('sh', '-c', 'kill -TERM $$'),
      run('no-such-program'),
    ]);
    expect(plain).toMatchObject({ code: 7, stdout: 'out\n', stderr: 'err\n' });
    expect(killed.code).toBe(143);
    expect(missing).toMatchObject({ code: 127, stderr: 'tunconnector: no-such-program: no such program\n' });
  });

  it('runs the command as another user where it is told to', TIME, async () => {
    await using hosts = await twoHosts();
    const command = shell(
      '--delay 1ms --user nobody',
      'sh',
      '-c',
      'id -un; echo "$USER"; grep CapEff /proc/self/status',
    );
    const { stdout } = await hosts.client.exec(command, { check: true });
    expect(stdout).toMatch(/^nobody\nnobody\nCapEff:\s+0+\n$/);
  });

  it('takes all after the first word that is no option for the command', TIME, async () => {
    await using hosts = await twoHosts();
    const words = [process.execPath, BIN, 'shell', '--delay', '1ms', 'echo', '--delay', '--', '-x'];
    expect(await hosts.client.exec(words)).toMatchObject({ code: 0, stdout: '--delay -- -x\n' });
  });

  it('refuses what it does not understand before anything runs', TIME, async () => {
    await using hosts = await twoHosts();
    const { code, stdout, stderr } = await hosts.client.exec(shell('--delay soon', 'echo', 'ran'));
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('--delay');
  });

  it.skipIf(needs('script'))('leaves the terminal and its Ctrl-C to the command', TIME, async () => {
    await using hosts = await twoHosts();
    const caught =
      'trap "echo caught; exit 9" INT; tty >/dev/null || exit 1; echo waiting; while :; do sleep 0.1; done';
    // script runs the line in $SHELL, and not every shell would become the command instead of dying of the Ctrl-C itself.
    const line = `exec ${shell('--delay 1ms', 'sh', '-c', `'${caught}'`).join(' ')}`;
    const process = hosts.client.spawn(['script', '-qec', line, '/dev/null']);
    await process.waitFor('waiting');
    process.child.stdin!.write('\x03');
    const { code } = await process.ended;
    expect(process.stdout).toContain('caught');
    expect(code).toBe(9);
  });

  it('passes SIGTERM on, and ends as the command then does', TIME, async () => {
    await using hosts = await twoHosts();
    const waiting = 'trap "exit 11" TERM; echo waiting; while :; do sleep 0.05; done';
    const process = hosts.client.spawn(shell('--delay 1ms', 'sh', '-c', waiting));
    await process.waitFor('waiting');
    expect(await process.stop('SIGTERM', 20_000)).toMatchObject({ code: 11 });
  });

  it('ends with the signal, and no error, while the link is being made', TIME, async () => {
    await using hosts = await twoHosts();
    const process = hosts.client.spawn(shell('--delay 1ms', 'sleep', '30'));
    const { pid } = process.child;
    const children = () => readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
    const waits = async () => {
      for (const child of (await children()).split(' ').filter(Boolean)) {
        const words = await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '');
        if (words.startsWith('sh\0')) return true;
      }
      return false;
    };
    expect(await until(waits, 20_000)).toBe(true);
    const { code } = await process.stop('SIGTERM', 20_000);
    expect({ code, stderr: process.stderr }).toEqual({ code: 143, stderr: '' });
  });

  it.skipIf(needs('iperf3'))('has the rate that was asked for, and no more', TIME, async () => {
    await using hosts = await twoHosts();
    const server = hosts.server.spawn(['iperf3', '-s', '-1', '--forceflush']);
    await server.waitFor('listening');
    const iperf = ['iperf3', '-c', SERVER, '-t', '2', '-J'];
    const { stdout } = await hosts.client.exec(shell('--rate 20mbit --deliver kernel', ...iperf), {
      check: true,
    });
    const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
    // TCP's and IP's headers take 52 of 1500 bytes.
    const share = end.sum_received.bits_per_second / ((20e6 * 1448) / 1500);
    // Never more; and how little a busy machine makes TCP miss, the bench says.
    expect(share).toBeGreaterThan(0.5);
    expect(share).toBeLessThan(1.02);
  });

  it('loses of pings what was asked for', TIME, async () => {
    await using hosts = await twoHosts();
    const ping = ['ping', '-c', '400', '-i', '0.005', '-W', '1', SERVER];
    const { stdout: pinged } = await hosts.client.exec(shell('--up-loss 20% --seed 3', ...ping), {
      check: true,
    });
    const [, sent, answered] = /(\d+) packets transmitted, (\d+) received/.exec(pinged)!;
    expect(Number(sent)).toBe(400);
    // 99.9 % of a binomial distribution.
    expect(Math.abs(Number(answered) - 320)).toBeLessThan(3.29 * Math.sqrt(400 * 0.2 * 0.8));
  });

  it.skipIf(needs('iperf3'))('loses of datagrams what was asked for, as iperf3 counts it', TIME, async () => {
    await using hosts = await twoHosts();
    const server = hosts.server.spawn(['iperf3', '-s', '-1', '--forceflush']);
    await server.waitFor('listening');
    // Each flow has draws of its own. This one's first datagram arrives, without which iperf3 waits for ever.
    const iperf = [
      'iperf3',
      '-c',
      SERVER,
      '-u',
      '-b',
      '10M',
      '-l',
      '500',
      '-t',
      '2',
      '-J',
      '--cport',
      '40001',
    ];
    // iperf3's own connection must not lose its end.
    const spec = "{ seed: 3, rules: [{ label: datagrams, match: '*:udp', up: loss 10% }] }";
    await using scratch = await scratchDirectory();
    await writeFile(`${scratch.path}/spec.yaml`, spec);
    const options = `--spec ${scratch.path}/spec.yaml --report --json`;
    const { stdout, stderr } = await hosts.client.exec(shell(options, ...iperf), { check: true });
    const { up } = JSON.parse(stderr) as {
      up: { pipelines: { label: string; packets: number; dropped: number }[] };
    };
    const { packets: sent, dropped } = up.pipelines.find(({ label }) => label === 'datagrams')!;
    expect(sent).toBeGreaterThan(1000);
    expect(Math.abs(dropped - sent * 0.1)).toBeLessThan(3.29 * Math.sqrt(sent * 0.09));
    const { lost_packets: lost, packets } = (
      JSON.parse(stdout) as { end: { sum: { lost_packets: number; packets: number } } }
    ).end.sum;
    expect(Math.abs(packets - sent)).toBeLessThan(20);
    // Not fewer; more, where a busy machine's sockets overflow.
    expect(lost).toBeGreaterThan(dropped - 20);
    expect(lost).toBeLessThan(dropped + packets * 0.1);
  });

  it.skipIf(needs('curl'))(
    'keeps curl waiting as long as the link says, to connect and for the file',
    TIME,
    async () => {
      await using hosts = await twoHosts();
      // Half a megabyte at 8 Mbit/s: half a second and more.
      const serve =
        "require('http').createServer((_, r) => r.end(Buffer.alloc(5e5))).listen(8080, () => console.log('ready'))";
      const server = hosts.server.spawn([process.execPath, '-e', serve]);
      await server.waitFor('ready');
      const times = '%{time_connect} %{time_starttransfer} %{time_total} %{size_download}';
      const curl = ['curl', '-s', '-o', '/dev/null', '-w', times, `http://${SERVER}:8080/`];
      const { stdout } = await hosts.client.exec(shell('--delay 50ms --down-rate 8mbit', ...curl), {
        check: true,
      });
      const [connect, first, total, size] = stdout.split(' ').map(Number) as [number, number, number, number];
      expect(size).toBe(500_000);
      expect(connect).toBeGreaterThanOrEqual(0.1);
      expect(connect).toBeLessThan(0.6);
      expect(first - connect).toBeGreaterThanOrEqual(0.1);
      expect(first - connect).toBeLessThan(0.6);
      // At the rate, but for what came with the first bytes; and some round trips more until TCP sends as fast as that.
      const bits = (size * 8 * 1500) / 1448;
      expect(total - first).toBeGreaterThan((bits / 8e6) * 0.95);
      expect(total - first).toBeLessThan(bits / 8e6 + 2);
    },
  );

  it('asks a name server that only listens on a loopback address, over UDP and TCP, through the link', {
    timeout: 40_000,
  }, async () => {
    await using hosts = await twoHosts();
    await using scratch = await scratchDirectory();
    const resolv = `${scratch.path}/resolv.conf`;
    await writeFile(resolv, 'nameserver 127.0.0.53\noptions timeout:2 attempts:2\n');
    const server = hosts.client.node(NAME_SERVER, ['192.0.2.7']);
    await server.waitFor('ready');
    const lookup = "require('dns').resolve4('somewhere.example', (e, a) => console.log(e ? e.code : a[0]))";
    const command =
      'cat /etc/resolv.conf; getent ahostsv4 some.example; RES_OPTIONS=use-vc getent ahostsv4 tcp.example';
    const run = shell(
      '--delay 30ms --deliver kernel',
      'sh',
      '-c',
      `${command}; "$0" -e "$1"`,
      process.execPath,
      lookup,
    );
    const { stdout, code } = await hosts.client.exec([...mountedAt(resolv), ...run]);
    expect(stdout).toMatch(/^nameserver 100\.64\.0\.1\noptions timeout:2 attempts:2\n/);
    expect(stdout.match(/192\.0\.2\.7 +STREAM/g)).toHaveLength(2);
    expect(stdout).toMatch(/\n192\.0\.2\.7\n$/);
    expect(server.stdout).toContain('asked over TCP');
    expect(code).toBe(0);
  });

  it.each(WAYS)('does not wait at its end for an answer that does not come (%s)', TIME, async (way) => {
    await using hosts = await twoHosts();
    await using scratch = await scratchDirectory();
    const resolv = `${scratch.path}/resolv.conf`;
    const silent = `${scratch.path}/silent.mjs`;
    const ask = `${scratch.path}/ask.mjs`;
    const socket = "const socket = (await import('node:dgram')).createSocket('udp4');";
    await Promise.all([
      writeFile(resolv, 'nameserver 127.0.0.53\n'),
      writeFile(
        silent,
        `${socket} socket.on('message', () => console.log('asked')).bind(53, '127.0.0.53', () => console.log('ready'));`,
      ),
      writeFile(
        ask,
        `${socket} socket.send('?', 53, process.env.TUNCONNECTOR_GATEWAY, () => setTimeout(() => process.exit(), 500));`,
      ),
    ]);
    const server = hosts.client.node(silent, []);
    await server.waitFor('ready');
    const begun = performance.now();
    const run = shell(`--delay 1ms ${way}`, 'sh', '-c', '"$0" "$1"; date +%s%3N', process.execPath, ask);
    const { stdout } = await hosts.client.exec([...mountedAt(resolv), ...run], { check: true });
    const ended = Number(stdout);
    expect(ended).toBeGreaterThan(begun);
    expect(server.stdout).toContain('asked');
    // A question is given up after 10 s.
    expect(performance.now() - ended).toBeLessThan(5000);
  });

  it('reports at its end what the link did, with the seed', TIME, async () => {
    await using hosts = await twoHosts();
    const options = '--up-loss 50% --delay 1ms --seed 7 --report --json';
    const { stderr, code } = await hosts.client.exec(
      shell(options, 'ping', '-c', '20', '-i', '0.05', '-W', '1', SERVER),
    );
    const report = JSON.parse(stderr) as {
      status: number;
      up: { seed: number; pipelines: { stages: { name: string; drops: Record<string, number> }[] }[] };
      down: { packets: number };
    };
    const loss = report.up.pipelines[0]!.stages.find(({ name }) => name === 'loss')!;
    const lost = Object.values(loss.drops).reduce((a, b) => a + b, 0);
    expect(report.up.seed).toBe(7);
    expect(report.status).toBe(code);
    expect(lost).toBeGreaterThan(0);
    expect(report.down.packets).toBe(20 - lost);
    const table = await hosts.client.exec(shell('--delay 1ms --seed 7 --report', 'true'));
    expect(table.stderr).toContain('seed 7');
    expect(table.stderr).toContain('command to outside');
  });

  it('takes two traces, the way up and the way down', TIME, async () => {
    await using hosts = await twoHosts();
    await using scratch = await scratchDirectory();
    // A packet in every millisecond, and one in 60 ms.
    await Promise.all([writeFile(`${scratch.path}/up`, '1\n'), writeFile(`${scratch.path}/down`, '60\n')]);
    const { stderr } = await hosts.client.exec(
      shell(`--trace ${scratch.path}/up ${scratch.path}/down --report --json`, ...PING, SERVER),
      { check: true },
    );
    const { up, down } = JSON.parse(stderr) as Record<
      'up' | 'down',
      { pipelines: { stages: { options: { text: string } }[] }[] }
    >;
    expect(up.pipelines[0]!.stages[0]!.options.text).toBe('1\n');
    expect(down.pipelines[0]!.stages[0]!.options.text).toBe('60\n');
  });
});

/** Process ids of janitors on a host. */
async function janitors(host: Host): Promise<number[]> {
  const script =
    'for p in /proc/[0-9]*; do [ $p/ns/net -ef /proc/self/ns/net ] && ' +
    'grep -qsa live-janitor-chil[d].js $p/cmdline && basename $p; done; true';
  const { stdout } = await host.exec(['sh', '-c', script], { check: true });
  return stdout.split('\n').filter(Boolean).map(Number);
}

describe.skipIf(needs('netns', 'tun', 'ip', 'nft'))('what tunconnector shell leaves behind', () => {
  it.each(WAYS)('is nothing when the command ends (%s)', TIME, async (way) => {
    await using hosts = await twoHosts();
    const before = await hosts.client.snapshot();
    const look = await hosts.client.exec(shell(`--delay 1ms ${way}`, 'sh', '-c', 'ip -o addr; sleep 0.1'), {
      check: true,
    });
    expect(look.stdout).toContain('100.64.0.2/30');
    expect(await hosts.client.snapshot()).toBe(before);
  });

  it.each(WAYS)('is nothing after kill -9, and the command ends (%s)', TIME, async (way) => {
    await using hosts = await twoHosts();
    const before = await hosts.client.snapshot();
    const process = hosts.client.spawn(
      shell(`--delay 1ms ${way}`, 'sh', '-c', 'echo pid $$; exec sleep 300'),
    );
    const [, pid] = await process.waitFor(/pid (\d+)/);
    // Over sockets there is nothing to begin with.
    expect((await hosts.client.snapshot()) !== before).toBe(way === KERNEL);
    process.kill('SIGKILL');
    await until(async () => (await hosts.client.snapshot()) === before);
    expect(await hosts.client.snapshot()).toBe(before);
    const isThere = async () => (await hosts.client.exec(['test', '-e', `/proc/${pid}`])).code === 0;
    expect(await until(async () => !(await isThere()))).toBe(true);
  });

  it('is undone by the next run where the janitor was killed as well', TIME, async () => {
    await using hosts = await twoHosts();
    const before = await hosts.client.snapshot();
    const first = hosts.client.spawn(
      shell('--delay 1ms --deliver kernel', 'sh', '-c', 'echo running; exec sleep 300'),
    );
    await first.waitFor('running');
    const pids = await janitors(hosts.client);
    expect(pids.length).toBeGreaterThan(0);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    first.kill('SIGKILL');
    await first.ended;
    expect(await hosts.client.snapshot()).not.toBe(before);
    await hosts.client.exec(shell('--delay 1ms --deliver kernel', 'true'), { check: true });
    await until(async () => (await hosts.client.snapshot()) === before);
    expect(await hosts.client.snapshot()).toBe(before);
  });
});

describe.skipIf(needs('userns', 'tun', 'ip', 'ping'))(
  'tunconnector shell without root, of which the kernel is the other end',
  () => {
    it(
      'has its link to what runs in the same user namespace, and the status of the command',
      TIME,
      async () => {
        await using hosts = await twoHosts();
        const before = await hosts.client.snapshot();
        const command = 'ping -c 4 -i 0.1 "$TUNCONNECTOR_GATEWAY"; exit 5';
        const { stdout, code } = await hosts.client.exec(
          shell('--rootless --deliver kernel --delay 20ms', 'sh', '-c', command),
        );
        const time = fastest(stdout);
        expect(time).toBeGreaterThanOrEqual(40);
        expect(time).toBeLessThan(75);
        expect(code).toBe(5);
        expect(await hosts.client.snapshot()).toBe(before);
      },
    );

    it('reaches a server that was started at the other end', TIME, async () => {
      await using hosts = await twoHosts();
      const there = 'nsenter --net --target "$TUNCONNECTOR_GATEWAY_PID"';
      const serve =
        "require('net').createServer((s) => s.end('hello from there')).listen(7777, () => console.log('up'))";
      const ask = 'require("net").connect(7777, process.env.TUNCONNECTOR_GATEWAY).pipe(process.stdout)';
      const script = `${there} "$0" -e "$1" & server=$!; sleep 1; "$0" -e "$2"; kill $server`;
      const { stdout } = await hosts.client.exec(
        shell('--rootless --deliver kernel --delay 5ms', 'sh', '-c', script, process.execPath, serve, ask),
      );
      expect(stdout).toContain('hello from there');
    });
  },
);
