import { describe, expect, it } from 'vitest';
import { systemError } from '../../src/tun/system-error.ts';

const failed = (code: string, syscall: string, what: string) =>
  Object.assign(new Error(`${code}: something, ${syscall} "${what}"`), { code, syscall });

describe('an error of a system call', () => {
  it('says what was refused, why, and what to do', () => {
    for (const [error, code, text] of [
      [failed('ENOENT', 'open', '/dev/net/tun'), 'ERR_TUN_OPEN', /\/dev\/net\/tun is missing.*modprobe tun/],
      [failed('EPERM', 'ioctl(TUNSETIFF)', 'tun0'), 'ERR_PERMISSION', /not permitted.*CAP_NET_ADMIN/],
      [failed('EACCES', 'open', '/dev/net/tun'), 'ERR_PERMISSION', /not permitted/],
      [failed('EACCES', 'bind', '0.0.0.0:53'), 'ERR_PERMISSION', /port from 1024 on.*CAP_NET_BIND_SERVICE$/],
      [failed('EPERM', 'socket(AF_PACKET)', 'eth0'), 'ERR_PERMISSION', /CAP_NET_RAW$/],
      [failed('EBUSY', 'ioctl(TUNSETIFF)', 'tun0'), 'ERR_TUN_OPEN', /in use.*choose another/],
      [failed('EADDRINUSE', 'bind', '0.0.0.0:1'), 'ERR_PORT_IN_USE', /taken.*ss -lnptu/],
      [failed('ENODEV', 'ioctl(SIOCGIFINDEX)', 'x'), 'ERR_INTERFACE', /does not exist/],
      [failed('EXDEV', 'bind', 'x'), 'ERR_SOCKET', /EXDEV/],
    ] as const) {
      const found = systemError(error, 'the TUN "tun0"') as Error & { code: string; errno: string };
      expect(found.code).toBe(code);
      expect(found.message).toMatch(text);
      expect(found.message).not.toContain('\n');
      expect(found.errno).toBe(error.code);
      // An option that not every command has.
      expect(found.message).not.toContain('--rootless');
    }
  });

  it('leaves other errors alone', () => {
    const error = new TypeError('wrong');
    expect(systemError(error, 'x')).toBe(error);
  });
});
