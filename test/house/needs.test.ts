import { describe, expect, it } from 'vitest';
import { needs, unmet } from '../needs.ts';

describe('needs', () => {
  it('is false for a program that is there', () => {
    expect(needs('sh')).toBe(false);
  });

  it('names a program that is missing', () => {
    expect(unmet('no-such-program')).toBe('the program no-such-program is missing');
  });
});
