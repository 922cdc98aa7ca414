import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Spec, SpecDocument } from '../../src/control/impair/contract.ts';
import { needs } from '../needs.ts';
import { scratchDirectory, until } from './cli-world.ts';
import { accessibleNodes, applied, figure, heapOf, noComplaints, PageWorld } from './page-world.ts';

const SPEC =
  'up: delay 20ms loss 1%\ndown: delay 20ms\nrules:\n  - { label: dns, match: "*:udp:53", both: loss 20% }\n';
const CONTROLS = ['button', 'slider', 'textbox', 'searchbox', 'combobox', 'listbox', 'grid', 'link', 'radio'];

describe.skipIf(needs('root', 'chromium', 'ping', 'curl'))(
  'the page of an impaired link',
  { timeout: 60_000 },
  () => {
    let world: PageWorld;
    let page: Page;
    const spec = () => world.ask<SpecDocument>('spec');
    const put = (text: string) =>
      world.ask<SpecDocument>(
        'spec',
        '-X',
        'PUT',
        '-H',
        'content-type: application/yaml',
        '--data-binary',
        text,
      );

    beforeAll(async () => {
      world = await PageWorld.open([]);
    }, 60_000);
    afterAll(() => world[Symbol.asyncDispose]());
    beforeEach(async () => {
      await put(SPEC);
      page = await world.page();
    });
    afterEach(async () => {
      await page.context().close();
      noComplaints(world);
    });

    it('shows what passes: figures move with traffic, and the charts are drawn', async () => {
      await using load = await world.load({ echo: true, rate: 200 });
      // 200 a second of 400 bytes and 42 of headers: 0.7 Mbit/s, as far as a busy machine sends them evenly.
      const about = /[↑↓] ([4-9]\d\d kbit|1\.\d+ Mbit)\/s/;
      await expect.poll(() => figure(page, 'Throughput', 'up'), { timeout: 15_000 }).toMatch(about);
      await expect.poll(() => figure(page, 'Throughput', 'down'), { timeout: 15_000 }).toMatch(about);
      // Never less than the 20 ms that were asked for; more where the machine is late.
      expect(await figure(page, 'Delay', 'up')).toMatch(/↑ ([2-9]\d|\d{3})(\.\d+)? ms/);
      const painted = await page.$eval('.chart canvas', (canvas) => {
        const { width, height } = canvas as HTMLCanvasElement;
        const context = (canvas as HTMLCanvasElement).getContext('2d')!;
        const { data } = context.getImageData(0, 0, width, height);
        return data.some((byte, i) => i % 4 === 3 && byte > 0);
      });
      expect(painted).toBe(true);
      expect(await page.textContent('#stage-rows')).toMatch(/↑ delay.*↑ loss|↑ loss.*↑ delay/);
      await load.stop();
      await expect.poll(() => figure(page, 'Throughput', 'up'), { timeout: 15_000 }).toBe('↑ 0 bit/s');
    });

    it('makes a rule of a flow that is clicked, which is in force once it is applied', async () => {
      await world.pings();
      await page.fill('#flow-search', 'icmp');
      await page.click('#flow-list .row:has-text("icmp")');
      await page.fill('#rule-label', 'pings');
      await page.click('#rule-dialog button.primary');
      await page.fill('#delay-up-number', '150');
      await page.press('#delay-up-number', 'Enter');
      expect((await spec()).spec.rules).toHaveLength(1);
      expect(await page.textContent('#no-figures')).toMatch(/not in force/);
      await applied(page);
      const [first] = (await spec()).spec.rules!;
      expect(first).toMatchObject({ label: 'pings', up: 'delay 150ms loss 1%', down: 'delay 20ms' });
      expect(Math.min(...(await world.pings()))).toBeGreaterThanOrEqual(170);
    });

    it('turns a delay by keyboard alone, and undoes it before and after it is applied', async () => {
      await page.focus('#delay-down');
      await page.keyboard.press('ArrowRight');
      await page.keyboard.press('ArrowRight');
      expect(await page.getAttribute('#delay-down', 'aria-valuetext')).toBe('30 ms');
      expect(await page.textContent('#delay-down-was')).toBe('was 20 ms');
      await page.keyboard.press('Control+Enter');
      await expect.poll(async () => (await spec()).spec.down).toBe('delay 30ms');
      expect(Math.min(...(await world.pings()))).toBeGreaterThanOrEqual(50);

      await page.focus('#loss-down');
      await page.keyboard.press('PageUp');
      expect(await page.textContent('#pending')).toBe('1 change is not applied');
      await page.keyboard.press('Control+z');
      expect(await page.inputValue('#loss-down-number')).toBe('none');
      await page.keyboard.press('Control+z');
      await expect.poll(async () => (await spec()).spec.down).toBe('delay 20ms');
      await expect.poll(() => page.inputValue('#delay-down-number')).toBe('20 ms');
    });

    it('drags a slider with the mouse', async () => {
      const box = (await page.locator('#rate-up').boundingBox())!;
      await page.mouse.move(box.x + box.width - 8, box.y + box.height / 2);
      await page.mouse.down();
      await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2, { steps: 8 });
      await page.mouse.up();
      const shown = await page.inputValue('#rate-up-number');
      expect(shown).toMatch(/^(8|10|12) Mbit\/s$/);
      expect(await page.textContent('#pending')).toBe('1 change is not applied');
      await applied(page);
      expect((await spec()).spec.up).toBe(`rate ${shown.split(' ')[0]}mbit delay 20ms loss 1%`);
    });

    it('takes a preset, with its numbers at the sliders', async () => {
      await page.selectOption('#preset', 'dsl');
      expect(await page.inputValue('#rate-down-number')).toBe('1.5 Mbit/s');
      await applied(page);
      expect((await spec()).spec).toMatchObject({ preset: 'dsl' });
      expect(Math.min(...(await world.pings()))).toBeGreaterThanOrEqual(50);
    });

    it('refuses a number that is none, and says what it expects', async () => {
      await page.fill('#rate-up-number', 'fast');
      await page.press('#rate-up-number', 'Enter');
      expect(await page.getAttribute('#rate-up-number', 'aria-invalid')).toBe('true');
      expect(await page.textContent('#rate-up-was')).toMatch(/a rate such as 5 Mbit\/s/);
      expect(await page.isDisabled('#apply')).toBe(true);
      await page.press('#rate-up-number', 'Escape');
      expect(await page.inputValue('#rate-up-number')).toBe('no limit');
    });

    it('edits the spec as text; what the server refuses is shown where it is, and changes nothing', async () => {
      const { revision } = await spec();
      await page.click('#edit-spec');
      const text = await page.inputValue('#spec-text');
      expect(text).toContain('label: dns');
      await page.fill('#spec-text', text.replace('loss 20%', 'loss 120%'));
      await page.click('#spec-dialog button.primary');
      await expect.poll(() => page.textContent('#spec-problem')).toMatch(/^Line \d: .*rules\.0.*120%/);
      const selected = () =>
        page.$eval('#spec-text', (element) => {
          const { value, selectionStart, selectionEnd } = element as HTMLTextAreaElement;
          return value.slice(selectionStart, selectionEnd);
        });
      expect(await selected()).toContain('120%');
      expect((await spec()).revision).toBe(revision);
      // Chromium tells of each answer that is not 2xx.
      expect(world.complaints.splice(0)).toEqual([expect.stringContaining('status of 400')]);
      await page.selectOption('#spec-format', 'json');
      expect(JSON.parse(await page.inputValue('#spec-text'))).toHaveProperty('rules');
      await page.fill('#spec-text', '{ "up": "delay 5ms" ');
      await page.click('#spec-dialog button.primary');
      expect(await page.textContent('#spec-problem')).toMatch(/line 1/);
      await page.fill('#spec-text', '{ "up": "delay 5ms" }');
      await page.click('#spec-dialog button.primary');
      await page.waitForSelector('#spec-dialog', { state: 'hidden' });
      expect((await spec()).spec).toEqual({ up: 'delay 5ms' });
      expect(await page.inputValue('#delay-up-number')).toBe('5 ms');
    });

    it('shows drops as they happen, with their flow, stage and reason', async () => {
      await put('up: loss 50%');
      await using _load = await world.load({ rate: 100 });
      const first = page.locator('#drop-list .row').first();
      await expect
        .poll(() => first.textContent(), { timeout: 8000 })
        .toMatch(/udp 10\.9\.0\.1:\d+ › 10\.9\.0\.2:20000/);
      expect(await first.textContent()).toMatch(/default\/loss/);
      await expect.poll(() => page.textContent('#drop-count')).toMatch(/^\d+ since/);
      // Of a hundred packets each second, as soon as there is a whole one.
      await expect.poll(() => figure(page, 'Loss', 'up')).toMatch(/↑ [3-7]\d/);
      await page.click('#pause-drops');
      // What is being drawn.
      await page.waitForTimeout(200);
      const frozen = await page.textContent('#drop-list');
      await page.waitForTimeout(1200);
      expect(await page.textContent('#drop-list')).toBe(frozen);
    });

    it('sees what others change, and asks before it overwrites that', async () => {
      const other = await world.page();
      await page.fill('#delay-up-number', '33');
      await page.press('#delay-up-number', 'Enter');
      await other.fill('#loss-down-number', '2');
      await other.press('#loss-down-number', 'Enter');
      await applied(other);
      await expect.poll(() => page.textContent('#pending')).toContain('changed elsewhere');
      await page.click('#apply');
      await page.click('#question button:has-text("My spec")');
      await expect.poll(async () => (await spec()).spec.up).toBe('delay 33ms loss 1%');
      await expect.poll(() => other.inputValue('#delay-up-number')).toBe('33 ms');

      await page.fill('#delay-up-number', '44');
      await page.press('#delay-up-number', 'Enter');
      await put('up: delay 7ms');
      await expect.poll(() => page.textContent('#pending')).toContain('changed elsewhere');
      await page.click('#apply');
      await page.click('#question button:has-text("drop my changes")');
      await expect.poll(() => page.inputValue('#delay-up-number')).toBe('7 ms');
      expect((await spec()).spec).toEqual({ up: 'delay 7ms' } satisfies Spec);
      await expect.poll(() => other.inputValue('#delay-up-number')).toBe('7 ms');
      await other.context().close();
    });

    it('stays quick with 10 000 flows', async () => {
      await using load = await world.load({ ports: 10_000, rate: 5000 });
      await expect
        .poll(() => page.textContent('#flow-count'), { timeout: 20_000 })
        .toMatch(/^10 \d\d\d flows$/);
      await load.stop();
      const took = async (action: () => Promise<unknown>, count: RegExp, text: string) => {
        const began = performance.now();
        await action();
        await page.waitForFunction(
          ([count, text]) =>
            new RegExp(count!).test(document.querySelector('#flow-count')!.textContent!) &&
            [...document.querySelectorAll('#flow-list .row:not([hidden])')].some((row) =>
              row.textContent!.includes(text!),
            ),
          [count.source, text],
          { polling: 'raf' },
        );
        return performance.now() - began;
      };
      await page.focus('#flow-list');
      const end = await took(() => page.keyboard.press('End'), /^10 \d\d\d flows$/, '10.9.0.2:2');
      const search = await took(() => page.fill('#flow-search', ':24321'), /^1 flow$/, ':24321');
      const sort = await took(
        async () => {
          await page.fill('#flow-search', '');
          await page.click('#flow-sorts button:has-text("Bytes")');
        },
        /^10 \d\d\d flows$/,
        'udp',
      );
      // The longest time for which the page did nothing else, over a second of scrolling.
      const longest = await page.evaluate(async () => {
        const list = document.querySelector('#flow-list')!;
        let longest = 0;
        let before = performance.now();
        for (let step = 0; step < 60; step++) {
          list.scrollTop += 4000;
          await new Promise(requestAnimationFrame);
          longest = Math.max(longest, performance.now() - before);
          before = performance.now();
        }
        return longest;
      });
      expect(await page.locator('#flow-list .row').count()).toBeLessThan(60);
      expect({ end, search, sort, longest }).toSatisfy(
        (times: Record<string, number>) =>
          times.end! < 2000 && times.search! < 2000 && times.sort! < 2000 && times.longest! < 400,
      );
    });

    it('says that the connection is lost, and is back by itself when the server is', async () => {
      await world.command.stop('SIGINT', 20_000);
      await page.waitForSelector('#connection[data-state="lost"]');
      expect(await page.textContent('#connection')).toMatch(/connection lost/);
      await world.restart();
      await page.waitForSelector('#connection[data-state="live"]', { timeout: 15_000 });
      // Browsers report each attempt that failed.
      world.complaints.splice(0);
      await expect.poll(() => page.textContent('#about')).toMatch(/revision \d/);
    });

    it('is all within reach of the Tab key, and everything has a name', async () => {
      await page.fill('#delay-up-number', '33');
      await page.press('#delay-up-number', 'Enter');
      const wanted = await page.$$eval(
        'a[href], button, input, select, textarea, [tabindex="0"]',
        (elements) =>
          elements
            .filter(
              (each) =>
                !(each as HTMLButtonElement).disabled && each.checkVisibility() && !each.closest('dialog'),
            )
            .map((each) => each.id || each.textContent),
      );
      expect(wanted.length).toBeGreaterThan(25);
      await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
      const reached = new Set<string>();
      for (let n = 0; n < wanted.length + 10; n++) {
        await page.keyboard.press('Tab');
        reached.add(
          await page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent || ''),
        );
      }
      expect(wanted.filter((each) => !reached.has(each!))).toEqual([]);
      await page.click('#add-rule');
      const inDialog = await accessibleNodes(page);
      await page.keyboard.press('Escape');
      await page.click('#edit-spec');
      const inText = await accessibleNodes(page);
      await page.keyboard.press('Escape');
      const nodes = [...(await accessibleNodes(page)), ...inDialog, ...inText];
      const controls = nodes.filter(({ role }) => CONTROLS.includes(role.toLowerCase()));
      expect(controls.length).toBeGreaterThan(30);
      expect(controls.filter(({ name }) => name.trim() === '')).toEqual([]);
      for (const role of ['banner', 'main', 'heading', 'status', 'region']) {
        expect(nodes.map((node) => node.role)).toContain(role);
      }
    });

    it('keeps its memory while it is open', { timeout: 90_000 }, async () => {
      await put('up: loss 50%');
      const fast = await world.page('?interval=100');
      await using load = await world.load({ ports: 50, rate: 500, echo: true });
      await fast.waitForTimeout(8000);
      const before = await heapOf(fast);
      await fast.waitForTimeout(30_000);
      const grown = (await heapOf(fast)) - before;
      await load.stop();
      await fast.context().close();
      expect(grown).toBeLessThan(1 << 20);
    });
  },
);

describe.skipIf(needs('root', 'chromium', 'curl'))('the page of a link whose spec is a file', () => {
  it('follows a SIGHUP', { timeout: 60_000 }, async () => {
    await using scratch = await scratchDirectory();
    const file = path.join(scratch.path, 'spec.yaml');
    await writeFile(file, 'up: delay 10ms');
    await using world = await PageWorld.open(['--spec', file]);
    const page = await world.page();
    expect(await page.inputValue('#delay-up-number')).toBe('10 ms');
    await writeFile(file, 'up: delay 60ms');
    world.command.kill('SIGHUP');
    await expect.poll(() => page.inputValue('#delay-up-number')).toBe('60 ms');
    expect(await until(async () => (await world.ask<SpecDocument>('spec')).revision === 2)).toBe(true);
    noComplaints(world);
  });
});
