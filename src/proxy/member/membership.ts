/** What a process has to do with Roulette: a member that is made, waited for, drained and let go, with the time that each may take. */
import { Member, type MemberEvent, type MemberOptions } from '../../chain/member/member.ts';
import { connectRegistry, type RemoteRegistry } from '../../chain/roulette/remote/live-connection.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import type { MemberSettings } from './options.ts';

/** ns for Roulette to answer before the start is given up. */
const PATIENCE = 10 * SECOND;
const SILENT: { reason: string; error?: TunconnectorError } = { reason: 'it does not answer' };

export class Membership {
  readonly member: Member;
  readonly #connection: RemoteRegistry;
  readonly #tenant: number;
  /** While somebody waits for Roulette: looks whether that is over. */
  #waiting: ((event?: MemberEvent) => void) | undefined;
  /** Why there is no connection, and what it refused last. */
  #lost = SILENT;
  #refused: TunconnectorError | undefined;

  constructor(
    {
      roulette,
      tenant,
      token,
      ca,
      term,
    }: Pick<MemberSettings, 'roulette' | 'tenant' | 'token' | 'ca' | 'term'>,
    options: Pick<MemberOptions, 'replica' | 'flowIdle' | 'flows'>,
    onEvent: (event: MemberEvent) => void,
  ) {
    const runtime = liveRuntime();
    const auth = { ...(token !== undefined && { token }), ...(ca !== undefined && { ca }) };
    this.#tenant = tenant;
    this.#connection = connectRegistry(runtime, { addresses: roulette, tenant, ...auth });
    this.member = new Member(runtime, this.#connection, {
      ...{ tenant, term, registersLater: true, ...options },
      onEvent: (event) => {
        if (event.type === 'connected') this.#lost = SILENT;
        else if (event.type === 'disconnected') this.#lost = event;
        else if (event.type === 'refused') this.#refused = event.error;
        this.#waiting?.(event);
        onEvent(event);
      },
    });
  }

  /** Until the tenant is known: what flow ids are made with. @throws ERR_UNREACHABLE, ERR_TOKEN, ERR_NOT_FOUND */
  secret() {
    const { member } = this;
    return this.#until(
      () => member.secret,
      () =>
        member.status.connected
          ? new TunconnectorError('ERR_NOT_FOUND', `Roulette knows no tenant ${this.#tenant}`, {
              remedy: 'make it first',
            })
          : undefined,
    );
  }

  /** When its port is open. @throws ERR_UNREACHABLE, or why it is refused */
  registered(): Promise<true> {
    const { member } = this;
    const done = this.#until(() => (member.status.registered ? true : undefined));
    member.register();
    return done;
  }

  /** Until `fact` is known. @throws what kept it from being known */
  #until<T>(fact: () => T | undefined, why: () => Error | undefined = () => undefined): Promise<T> {
    const runtime = liveRuntime();
    return new Promise<T>((resolve, reject) => {
      const settle = (work: () => void) => {
        this.#waiting = undefined;
        cancel();
        work();
      };
      const cancel = runtime.timer(runtime.now() + PATIENCE, () => {
        const message = `Roulette cannot be reached: ${this.#lost.reason}`;
        settle(() => reject(this.#refused ?? why() ?? new TunconnectorError('ERR_UNREACHABLE', message)));
      });
      this.#waiting = (event) => {
        const { error } = this.#lost;
        const known = fact();
        // What the tenant has not when all of it is known, it will not have soon.
        const missing = event === undefined || event.type === 'connected' ? why() : undefined;
        if (known !== undefined) settle(() => resolve(known));
        else if (error?.code === 'ERR_TOKEN') settle(() => reject(error));
        else if (missing) settle(() => reject(missing));
      };
      this.#waiting();
    });
  }

  /** Gets no new flows from now on; those it has go on. Resolves when Roulette knows, or after `limit` ns. */
  drain(limit: number): Promise<void> {
    const runtime = liveRuntime();
    return new Promise((resolve) => {
      const cancel = runtime.timer(runtime.now() + limit, resolve);
      this.member.drain(() => {
        cancel();
        resolve();
      });
    });
  }

  /** Gives up its place: the others stop sending before its port is gone. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.member.close(resolve));
    this.#connection.close();
  }
}
