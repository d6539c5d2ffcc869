// Looks at report pages in headless Chromium: each page is checked in both colour schemes and at two
// widths. Fails when a page asks for anything beyond itself, its script fails, it is wider than the
// screen, or axe-core finds something serious. Screenshots are left beside the pages.
//
// node check.mjs PAGE.html…
import { createRequire } from 'node:module';
import path from 'node:path';
import { chromium } from 'playwright-core';

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const problems = [];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

async function opened(context, page) {
  const tab = await context.newPage();
  const wrong = (what) => problems.push(`${page}: ${what}`);
  tab.on('console', (message) => message.type() === 'error' && wrong(message.text()));
  tab.on('pageerror', (error) => wrong(`script: ${error.message}`));
  tab.on('request', (request) => {
    if (!/^(file|data):/.test(request.url())) wrong(`asks for ${request.url()}`);
  });
  await tab.goto(`file://${path.resolve(page)}`);
  return tab;
}

for (const page of process.argv.slice(2)) {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [1280, 400]) {
      const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 } });
      const tab = await opened(context, page);
      const wider = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wider > 0) problems.push(`${page}: ${wider} pixels wider than ${width}`);
      const chart = tab.locator('.chart').first();
      if (await chart.count()) {
        await chart.hover();
        if (!(await tab.locator('.tip').first().isVisible())) problems.push(`${page}: no numbers under the pointer`);
        await tab.mouse.move(0, 0);
      }
      await tab.screenshot({ path: page.replace(/\.html$/, `-${colorScheme}-${width}.png`), fullPage: true });
      await context.close();
    }
    // The page's policy lets no other script in.
    const context = await browser.newContext({ colorScheme, bypassCSP: true });
    const tab = await opened(context, page);
    await tab.evaluate(() => document.querySelectorAll('details').forEach((details) => { details.open = true; }));
    await tab.addScriptTag({ path: axe });
    const { violations } = await tab.evaluate(() => globalThis.axe.run());
    for (const { id, impact, nodes } of violations) {
      const text = `${page} (${colorScheme}): ${impact} ${id}: ${nodes[0].html}`;
      if (impact === 'serious' || impact === 'critical') problems.push(text);
      else console.log(`note: ${text}`);
    }
    await context.close();
  }
}
await browser.close();
problems.forEach((problem) => console.error(problem));
console.log(`${process.argv.length - 2} pages, ${problems.length} problems`);
process.exit(problems.length ? 1 : 0);
