/** What `tunconnector sim` does. */
export const SIM_ACTIONS = ['run', 'explore'] as const;
