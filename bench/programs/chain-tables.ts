/** Tells an app `hop` or `end` all that it has to know of the registry, in the thread in which it runs. */
import type { Attached } from 'tunconnector';
import type { ChainControlled } from '../../dist/chain/member/control.js';
import type { TableUpdate } from '../../dist/chain/tables/update.js';

export interface TablesOptions {
  app: string;
  update: TableUpdate;
}

export const applyTables: Attached<TablesOptions, void> = (network, { app, update }) => {
  (network.get(app) as unknown as ChainControlled).update(update);
};
