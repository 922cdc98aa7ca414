import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/**/*.test.ts'],
    env: { TUNCONNECTOR_DEBUG: '1' },
    testTimeout: 20_000,
  },
});
