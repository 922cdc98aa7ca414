/** What `tunconnector sim` does. */
export const SIM_ACTIONS = ['run'] as const;
