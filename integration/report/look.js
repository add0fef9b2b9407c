// Opens a page in Chromium with scripts switched off, as a file, and says as JSON
// on standard output what is wrong with it: requests, messages on the console,
// overflow, and what axe-core finds. Arguments: the directory with the modules, the
// page and, to look at it oneself, a directory for pictures.
const path = require('path');
const [modules, page, pictures] = process.argv.slice(2);
const { chromium } = require(path.join(modules, 'playwright-core'));
const axe = require(path.join(modules, 'axe-core'));

const views = [
  { name: 'desktop', width: 1280, height: 900, scheme: 'light' },
  { name: 'desktop-dark', width: 1280, height: 900, scheme: 'dark' },
  { name: 'phone', width: 360, height: 740, scheme: 'light' },
  { name: 'phone-dark', width: 360, height: 740, scheme: 'dark' },
];

async function look(browser, view) {
  const result = { view: view.name, requests: [], console: [], overflow: [], violations: [] };
  const context = await browser.newContext({
    viewport: { width: view.width, height: view.height }, colorScheme: view.scheme, javaScriptEnabled: false,
  });
  const tab = await context.newPage();
  const own = 'file://' + page;
  tab.on('request', (r) => { if (r.url() !== own) result.requests.push(r.url()); });
  tab.on('console', (m) => result.console.push(m.text()));
  tab.on('pageerror', (e) => result.console.push(String(e)));
  await tab.goto(own);
  if (pictures) await tab.screenshot({ path: path.join(pictures, view.name + '.png'), fullPage: true });
  // What is folded has to be as good as what is not.
  await tab.evaluate(() => document.querySelectorAll('details').forEach((d) => { d.open = true; }));
  result.overflow = await tab.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const wide = [...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll, pre') && e.getBoundingClientRect().right > width + 1);
    return wide.map((e) => e.tagName + '.' + e.className).slice(0, 10).concat('the page is ' + document.documentElement.scrollWidth + ' wide');
  });
  result.styled = await tab.evaluate(() => getComputedStyle(document.querySelector('.verdicts')).display === 'grid');
  await context.close();
  // The judge needs timers, which a browser without scripts does not run.
  const judged = await browser.newContext({ viewport: { width: view.width, height: view.height }, colorScheme: view.scheme });
  const other = await judged.newPage();
  await other.goto(own);
  await other.evaluate(() => document.querySelectorAll('details').forEach((d) => { d.open = true; }));
  await other.evaluate(axe.source);
  const found = await other.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  result.rules = found.passes.length;
  result.violations = found.violations.map((v) => v.id + ': ' + v.help + ': ' + v.nodes.slice(0, 3).map((n) => n.html + ' ' + (n.failureSummary || '')).join(' | '));
  if (pictures && view.name === 'desktop') await other.pdf({ path: path.join(pictures, 'print.pdf') });
  await judged.close();
  return result;
}

(async () => {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium', headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  try {
    const results = [];
    for (const view of views) results.push(await look(browser, view));
    console.log(JSON.stringify(results));
  } finally {
    await browser.close();
  }
})().catch((e) => { console.error(e); process.exit(1); });
