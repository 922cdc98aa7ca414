import { describe, expect, it, vi } from 'vitest';
import { traceChain } from '../../src/cli/chain/trace.ts';

const FLOWS = [
  { id: '00000000000000a1', key: 'tcp 10.0.0.1:80 <-> 10.0.0.2:4000' },
  { id: '00000000000000a2', key: 'tcp 10.0.0.1:8080 <-> 10.0.0.2:4000' },
  { id: '00000000000000a3', key: 'udp 10.0.0.1:53 <-> 10.0.0.2:4000' },
];

/** Which flow was traced when these words were given. */
async function traced(...words: string[]): Promise<string> {
  let asked = '';
  const client = {
    // As Roulette searches: parts of words.
    flows: ({ search }: { search: string }) => ({
      flows: FLOWS.filter(({ key }) => search.split(' ').every((word) => key.includes(word))),
    }),
    traceFlow: (id: string) => {
      asked = id;
      return { id, spi: 7, ingress: 1, hops: [] };
    },
  };
  const silent = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  try {
    await traceChain({ client: async () => client } as never, words, {});
  } finally {
    silent.mockRestore();
  }
  return asked;
}

describe('chain trace', () => {
  it('takes the id of a flow, or words that only its key has', async () => {
    expect(await traced('00000000000000ff')).toBe('00000000000000ff');
    expect(await traced('tcp', '10.0.0.1:80', '10.0.0.2:4000')).toBe('00000000000000a1');
    expect(await traced('10.0.0.2:4000', 'UDP')).toBe('00000000000000a3');
  });

  it('names those that it could be, and says when there is none', async () => {
    await expect(traced('tcp')).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: expect.stringMatching(/2 flows are tcp: 00000000000000a1 \(tcp 10\.0\.0\.1:80 /),
    });
    await expect(traced('10.0.0.1:8')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    await expect(traced()).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });
});
