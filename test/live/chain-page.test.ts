import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RouletteClient } from '../../src/control/client/roulette.ts';
import { needs } from '../needs.ts';
import { ChainPageWorld, type Member, noComplaints, shown } from './chain-page-world.ts';
import { accessibleNodes } from './page-world.ts';

const CONTROLS = ['button', 'textbox', 'searchbox', 'combobox', 'grid', 'link', 'checkbox', 'listbox'];
const FLOWS = 1500;
const flowId = (n: number) => (n * 0x9e37).toString(16).padStart(16, '0');

describe.skipIf(needs('chromium'))('the page of Roulette', { timeout: 60_000 }, () => {
  let world: ChainPageWorld;
  let members: Map<number, Member>;
  const pages: Page[] = [];

  beforeAll(async () => {
    world = await ChainPageWorld.open();
    const functions = { ingress: [1], fw: [17, 18], dpi: [33], counter: [], egress: [9, 10] };
    members = await world.set(functions);
    const { client } = world;
    await chains();
    await client.putClassifier({
      rules: [
        { name: 'web', match: '*:tcp:443', chain: 7 },
        { name: 'rest', match: {}, chain: null },
      ],
    });
    for (let from = 0; from < FLOWS; from += 50) {
      const flows = Array.from({ length: 50 }, (_, i) => {
        const n = from + i;
        const key = `${n % 3 === 0 ? 'udp' : 'tcp'} 10.9.${n >> 8}.${n & 255}:4000 > 192.168.7.1:443`;
        return { id: flowId(n + 1), key, spi: 7 };
      });
      await client.request('flows.register', { flows });
    }
  }, 60_000);
  afterAll(() => world[Symbol.asyncDispose]());
  // Each finds the same chains, also when it is tried again.
  beforeEach(chains);
  afterEach(async () => {
    for (const page of pages.splice(0)) await page.context().close();
    noComplaints(world);
  });

  async function chains(): Promise<void> {
    const { client } = world;
    const wanted = [
      { spi: 7, functions: ['fw', 'dpi'], symmetric: true },
      { spi: 8, functions: ['counter'], symmetric: false },
    ];
    const there = (await client.chains()).chains;
    for (const { spi } of there) if (spi > 8) await client.endChain(spi);
    for (const { spi, functions, symmetric } of wanted) {
      const now = there.find((each) => each.spi === spi)?.revisions.at(-1);
      if (now?.functions.join(' ') !== functions.join(' ') || now.symmetric !== symmetric)
        await client.putChain(spi, { functions, symmetric });
    }
  }
  const open = async (...options: Parameters<ChainPageWorld['page']>) => {
    const page = await world.page(...options);
    pages.push(page);
    return page;
  };
  const chain = (page: Page, spi: number) => page.locator(`.chain:has(h3:text-is("Chain ${spi}"))`);
  const replica = (page: Page, id: number) =>
    page.locator(`.steps li.replica:has(> button:first-child:text-is("${id}"))`).first();

  it('draws chains with the functions in order, their replicas, states and rates', async () => {
    const page = await open();
    const steps = await chain(page, 7).locator('h4').allTextContents();
    expect(steps).toEqual(['ingress', 'fw', 'dpi', 'egress']);
    expect(await chain(page, 7).locator('.chain-head').textContent()).toMatch(/both ways, 1 500 flows/);
    expect(await chain(page, 8).textContent()).toMatch(/one way.*counter.*nobody ready/);
    // 1000 packets of 1250 bytes a second, as far as a busy machine tells of them evenly.
    await expect
      .poll(() => replica(page, 17).locator('.rate').textContent(), { timeout: 15_000 })
      .toMatch(/^(9\.\d|1[01]\.\d) Mbit\/s, (9\d\d|1 \d\d\d) p\/s$/);
    await expect
      .poll(() => chain(page, 7).locator('.chain-rates').textContent())
      .toMatch(/→ .*Mbit\/s {2}← .*bit\/s/);
    expect(await page.textContent('#rule-list')).toMatch(
      /web \*:tcp:443 › chain 7.*rest everything › no chain/,
    );
    expect(await page.textContent('#end-rows')).toMatch(
      /ingress 1, 10\.0\.0\.1:4790ready.*egress 9.*egress 10/,
    );
    members.get(17)!.rate = 0;
    await expect
      .poll(() => replica(page, 17).locator('.rate').textContent(), { timeout: 15_000 })
      .toBe('0 bit/s, 0 p/s');
    members.get(17)!.rate = 1000;
  });

  it('says which rates it does not know', async () => {
    members.get(10)!.tells = false;
    const page = await open();
    await expect
      .poll(() => page.textContent('#unknown-rates'), { timeout: 20_000 })
      .toMatch(/does not know the rates of replica 10/);
    expect(await replica(page, 10).locator('.rate').textContent()).toBe('–');
    members.get(10)!.tells = true;
    await expect.poll(() => page.textContent('#unknown-rates'), { timeout: 15_000 }).toBe('');
  });

  it('drains a replica and takes it back, and shows who comes and goes', async () => {
    const page = await open();
    await page.click('button[aria-label="Drain replica 18"] >> nth=0');
    await expect.poll(() => replica(page, 18).getAttribute('data-state')).toBe('draining');
    expect((await world.client.replica(18)).state).toBe('draining');
    await page.click('button[aria-label="Take replica 18 back into service"] >> nth=0');
    await expect.poll(() => replica(page, 18).getAttribute('data-state')).toBe('ready');
    const late = await world.member('fw', 19);
    await expect.poll(() => replica(page, 19).getAttribute('data-state')).toBe('ready');
    await late.end();
    await expect.poll(() => replica(page, 19).getAttribute('data-state')).toBe('gone');
    expect(await replica(page, 19).textContent()).toContain('gone');
  });

  it('lists flows with their paths, searched, by replica, and in the picture when one is chosen', async () => {
    const page = await open();
    await expect.poll(() => page.textContent('#flow-count')).toBe('1 500');
    expect(await page.locator('#flow-list .row').count()).toBeLessThan(60);
    await page.fill('#flow-search', 'udp 10.9.2.');
    const first = page.locator('#flow-list .row:not([hidden])').first();
    await expect.poll(() => first.textContent()).toMatch(/udp 10\.9\.2\.\d+:4000/);
    await page.fill('#flow-search', '');
    await replica(page, 17).locator('button').first().click();
    await expect.poll(() => page.textContent('#flow-filter')).toMatch(/replica 17/);
    const { total } = await world.client.flows({ replica: 17 });
    await expect.poll(() => page.textContent('#flow-count')).toBe(`${total}`);
    await page.click('#flow-filter');
    await expect.poll(() => page.textContent('#flow-count')).toBe('1 500');
    // To the end of the list by keyboard, which has to be asked for.
    await page.focus('#flow-list');
    await page.keyboard.press('End');
    await expect
      .poll(() => page.locator(`#flow-list .row.active[aria-rowindex="${FLOWS + 1}"]`).textContent())
      .toMatch(/192\.168\.7\.1:443.*› 33 ›/);
    await page.keyboard.press('Enter');
    await expect.poll(() => chain(page, 7).locator('.on-path').count()).toBe(3);
    expect(await chain(page, 8).locator('.on-path').count()).toBe(0);
  });

  it('edits a chain by keyboard, makes a new one, and says what Roulette has against one', async () => {
    const page = await open();
    await chain(page, 8).locator('.edit').focus();
    await page.keyboard.press('Enter');
    await page.selectOption('#chain-add', 'fw');
    await page.focus('#chain-add-button');
    await page.keyboard.press('Enter');
    await page.focus('button[aria-label="Earlier: fw, 2"]');
    await page.keyboard.press('Enter');
    expect(await page.locator('#chain-functions span').allTextContents()).toEqual(['fw', 'counter']);
    await page.click('#chain-dialog button.primary');
    await page.waitForSelector('#chain-dialog', { state: 'hidden' });
    expect((await world.client.chain(8)).revisions.at(-1)).toMatchObject({
      functions: ['fw', 'counter'],
      symmetric: false,
    });
    await expect
      .poll(() => chain(page, 8).locator('h4').allTextContents())
      .toEqual(['ingress', 'fw', 'counter', 'egress']);

    await page.click('#new-chain');
    expect(await page.inputValue('#chain-spi')).toBe('9');
    await page.fill('#chain-spi', '7');
    await page.click('#chain-dialog button.primary');
    expect(await page.textContent('#chain-problem')).toMatch(/at least one function/);
    await page.click('#chain-add-button');
    await page.click('#chain-dialog button.primary');
    await expect.poll(() => page.textContent('#chain-problem')).toMatch(/There is a chain 7 already/);
    expect(world.complaints.splice(0)).toEqual([expect.stringContaining('status of 412')]);
    await page.fill('#chain-spi', '12');
    await page.click('#chain-dialog button.primary');
    await expect.poll(() => chain(page, 12).count()).toBe(1);
    await world.client.endChain(12);
  });

  it('overwrites nothing: who was overtaken sees both, and decides', async () => {
    const page = await open();
    const functions = async () => (await world.client.chain(7)).revisions.at(-1)!.functions;
    await chain(page, 7).locator('.edit').click();
    await page.selectOption('#chain-add', 'counter');
    await page.click('#chain-add-button');
    await world.client.putChain(7, { functions: ['dpi', 'fw'] });
    await expect
      .poll(() => page.textContent('#chain-conflict'))
      .toMatch(/in force now: dpi > fw, both ways.*Yours: fw > dpi > counter/);
    expect(await page.isDisabled('#chain-dialog button.primary')).toBe(true);
    // The draft stays when the dialog is closed.
    await page.keyboard.press('Escape');
    await expect.poll(() => chain(page, 7).locator('.edit').textContent()).toBe('Edit: not saved');
    expect(await functions()).toEqual(['dpi', 'fw']);
    await chain(page, 7).locator('.edit').click();
    expect(await page.locator('#chain-functions span').allTextContents()).toEqual(['fw', 'dpi', 'counter']);
    await page.click('#chain-mine');
    await expect.poll(functions).toEqual(['fw', 'dpi', 'counter']);

    await chain(page, 7).locator('.edit').click();
    await page.click('button[aria-label="Remove counter, 3"]');
    await world.client.putChain(7, { functions: ['fw', 'dpi'] });
    await page.waitForSelector('#chain-theirs');
    await page.click('#chain-theirs');
    await page.waitForSelector('#chain-dialog', { state: 'hidden' });
    expect(await functions()).toEqual(['fw', 'dpi']);
    await expect.poll(() => chain(page, 7).locator('.edit').textContent()).toBe('Edit');
  });

  it('finds a conflict also where the page has not heard of it yet', async () => {
    const page = await open();
    await chain(page, 8).locator('.edit').click();
    await page.click('#chain-symmetric');
    // The page hears nothing: neither the watch nor what it would read.
    await page.evaluate(() => {
      const { fetch } = window;
      Object.assign(window, {
        fetch: (...asked: Parameters<typeof fetch>) =>
          asked[1]?.method === 'PUT' ? fetch(...asked) : new Promise(() => {}),
      });
    });
    await world.client.putChain(8, { functions: ['counter'] });
    await page.click('#chain-dialog button.primary');
    await expect.poll(() => world.complaints.length).toBe(1);
    expect(world.complaints.splice(0)).toEqual([expect.stringContaining('status of 412')]);
    expect((await world.client.chain(8)).revisions.at(-1)!.functions).toEqual(['counter']);
  });

  it('says when the connection is lost, shows no rates of before, and goes on after it', async () => {
    const page = await open();
    await expect
      .poll(() => replica(page, 17).locator('.rate').textContent(), { timeout: 15_000 })
      .toMatch(/p\/s/);
    await world.kill();
    await page.waitForSelector('#connection[data-state="lost"]');
    await expect.poll(() => replica(page, 17).locator('.rate').textContent()).toBe('');
    await world.startAgain();
    await shown(page);
    await expect
      .poll(() => replica(page, 17).locator('.rate').textContent(), { timeout: 15_000 })
      .toMatch(/p\/s/);
    // Chromium tells of each attempt.
    for (const each of world.complaints.splice(0)) expect(each).toMatch(/ERR_CONNECTION_REFUSED|WebSocket/);
  });

  it('chooses among tenants, and keeps the choice in its address', async () => {
    const other = new RouletteClient({ url: world.url, tenant: 43 });
    await other.putTenant({ description: 'another shop' });
    const page = await open();
    expect(await page.locator('#tenant option').allTextContents()).toEqual([
      '42: a shop',
      '43: another shop',
    ]);
    await page.selectOption('#tenant', '43');
    await page.waitForURL('**/?tenant=43');
    await shown(page);
    expect(await page.textContent('#no-chains')).toBe('There are no chains yet.');
    await other.removeTenant();
  });

  it('is all within reach of the Tab key, and everything has a name', async () => {
    const page = await open();
    const nodes = await accessibleNodes(page);
    const controls = nodes.filter(({ role }) => CONTROLS.includes(role));
    expect(controls.length).toBeGreaterThan(20);
    expect(controls.filter(({ name }) => name === '')).toEqual([]);
    const names = nodes.map(({ name }) => name);
    expect(names).toContain('Replica 17 of fw, ready: show its flows');
    const reached = new Set<string>();
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press('Tab');
      reached.add(
        await page.evaluate(
          () => document.activeElement?.id || document.activeElement?.getAttribute('aria-label') || '',
        ),
      );
    }
    for (const id of [
      'tenant',
      'chain-select',
      'new-chain',
      'flow-search',
      'flow-list',
      'Edit chain 7',
      'Drain replica 17',
    ])
      expect(reached).toContain(id);
  });

  it('fits a narrow window, also in the dark', async () => {
    const page = await open({ context: { viewport: { width: 380, height: 800 }, colorScheme: 'dark' } });
    const [width, ground] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      getComputedStyle(document.body).backgroundColor,
    ]);
    expect(width).toBeLessThanOrEqual(380);
    expect(ground).toBe('rgb(16, 20, 24)');
  });
});

describe.skipIf(needs('chromium'))('the page of a Roulette with tokens', { timeout: 60_000 }, () => {
  const TOKEN = 'a-token-for-everything';

  it('asks for one, takes no wrong one, and keeps it for its tab alone', async () => {
    await using world = await ChainPageWorld.open({ [TOKEN]: 'all', 'another-token-of-42': [42] });
    await world.set({ fw: [17] });
    await world.client.putChain(7, { functions: ['fw'] });
    const page = await world.page({ ready: false });
    await page.fill('#token', 'a-wrong-token-of-nobody');
    await page.keyboard.press('Enter');
    await expect.poll(() => page.textContent('#token-dialog .problem')).toMatch(/does not know this one/);
    await page.fill('#token', 'another-token-of-42');
    await page.keyboard.press('Enter');
    await shown(page);
    await page.waitForSelector('.chain');
    await page.reload();
    await shown(page);
    expect(await page.evaluate(() => [localStorage.length, document.cookie, location.search])).toEqual([
      0,
      '',
      '',
    ]);
    const other = await world.page({ ready: false });
    await other.waitForSelector('#token');
    await page.click('#forget');
    await page.waitForSelector('#token');
    // Who opens the address with a token has a cookie, and the token is in no address.
    const invited = await world.page({ query: `?token=${TOKEN}` });
    expect(invited.url()).toBe(world.url);
    for (const each of world.complaints.splice(0)) expect(each).toMatch(/status of 401/);
  });
});
