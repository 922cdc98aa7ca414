/** What a page says of its connection, in its head. */
import { byId, setText } from './dom.ts';
import type { Topic } from './topic.ts';

export type Connection = 'connecting' | 'live' | 'lost';

const CONNECTIONS: Readonly<Record<Connection, string>> = {
  connecting: 'connecting',
  live: 'live',
  lost: 'connection lost, trying again',
};

export function showConnection(connection: Topic<Connection>): void {
  connection.watch((state) => {
    const element = byId('connection');
    element.dataset.state = state;
    setText(element, CONNECTIONS[state]);
  });
}
