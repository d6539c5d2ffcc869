// The upper part of a report page as a picture.
//
// node screenshot.mjs PAGE.html FILE.png
import { statSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const MOST = 300_000; // bytes: it is in the repository, and on its front page
const [page, file] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const tab = await browser.newPage({ colorScheme: 'light', viewport: { width: 1200, height: 1290 }, deviceScaleFactor: 1.25 });
await tab.goto(`file://${path.resolve(page)}`);
await tab.screenshot({ path: file });
await browser.close();
const { size } = statSync(file);
console.log(`${file}: ${size} bytes`);
process.exit(size > MOST ? 1 : 0);
