// Many sign-ins in one browser, behind a proxy: node behind-a-proxy.mjs URL ISSUER APPLICATION HOSTILE-PAGE
//
// URL is the address of the proxy in front of the gateway. ISSUER is its provider, which redirects back unless the
// browser has the cookie stay=1. APPLICATION is a configured origin, HOSTILE-PAGE is not. $CHROMIUM is the browser.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url, issuer, application, hostile] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext();
const page = await context.newPage();

const next = `${application}/${"x".repeat(600 - application.length - 1)}`;
const login = (next) => `${url}auth/login/google?next=${encodeURIComponent(next)}`;

// While this is set, users stay at the provider, which recognises them by a cookie.
const stay = () => context.addCookies([{ name: "stay", value: "1", url: issuer }]);
const leave = () => context.clearCookies({ name: "stay" });

async function assertSignsIn() {
  await page.goto(login(next));
  await page.waitForURL((there) => there.href.startsWith(next));
  assert.match(page.url(), /[?]jwt=eyJ/, "signed in");
  await page.goto(application);
}

// Cookies ignore ports: an application on the same host sets one with bytes that are not ASCII.
await page.goto(application);
await page.evaluate(() => { document.cookie = "name=Jürgen; path=/"; });

await stay();
for (let begun = 0; begun < 20; begun += 1) {
  const answer = await page.goto(login(next));
  assert.ok(page.url().startsWith(issuer), `sign-in ${begun} is answered ${answer.status()} at ${page.url()}`);
}
const cookies = (await context.cookies(url)).filter(({ name }) => name.startsWith("auth-"));
const together = cookies.map(({ name, value }) => `${name}=${value}; `.length);
const size = together.reduce((sum, length) => sum + length, 0);
console.log(`${together.length} cookies of ${size} bytes after 20 sign-ins`);
assert.ok(size < 3072, `${size} bytes`);
for (const path of ["", "auth/check", "assets/gateway.js"]) {
  assert.equal((await context.request.get(url + path)).status(), 200, path);
}
await leave();
await assertSignsIn();

// A page with hundreds of images uses up no rate limit.
await page.goto(hostile);
const counts = await page.evaluate(async (login) => {
  const images = Array.from({ length: 330 }, (_, number) => new Promise((done) => {
    const image = new Image();
    image.onload = image.onerror = done;
    image.src = `${login}&number=${number}`;
  }));
  await Promise.all(images);
  return images.length;
}, login(next));
assert.equal(counts, 330);
await assertSignsIn();

// During a sign-in, another open page begins sign-in after sign-in, in windows that a click opened.
await stay();
await page.goto(login(next));
const other = await context.newPage();
await other.goto(hostile);
await other.evaluate((login) => {
  const button = document.createElement("button");
  button.textContent = "Play";
  button.addEventListener("click", () => {
    window.opened = [0, 1, 2].map((number) => window.open(login, `window${number}`)).filter(Boolean);
  });
  document.body.append(button);
}, login(next));
const popup = other.waitForEvent("popup");
await other.getByRole("button", { name: "Play" }).click();
await popup;
let asked = 0;
for (let round = 0; round < 40; round += 1) {
  const answered = context.waitForEvent("response", (response) => response.url().startsWith(`${url}auth/login/`));
  await other.evaluate(([login, round]) => { window.opened[round % window.opened.length].location = `${login}&round=${round}`; }, [login(next), round]);
  if ((await answered).status() === 200) asked += 1;
}
assert.ok(asked > 20, `the person was asked ${asked} times`);
// The user's own sign-in can still be completed: the provider redirects back.
await leave();
await page.reload();
await page.waitForURL((there) => there.href.startsWith(next));
assert.match(page.url(), /[?]jwt=eyJ/, "signed in");
await assertSignsIn();

await browser.close();
