// The gateway's page accepts a token only from a sign-in that began in its tab: node own-page.mjs URL PAGE-URL
//
// URL is a gateway under `gateway dev`, PAGE-URL a hostile page of another origin. $CHROMIUM is the browser.

import assert from "node:assert/strict";
import { get } from "node:http";
import { chromium } from "playwright-core";

const [url, hostile] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

const ignored = (page) => page.locator("#notice", { hasText: "did not begin in this tab" }).waitFor();
const signedIn = (page, name) => page.getByRole("heading", { name }).waitFor();
const signedOut = (page) => page.getByRole("link", { name: "Continue as a test user" }).waitFor();
const begin = (page) => page.getByRole("link", { name: "Continue as a test user" }).click();
const choose = (page, name) => page.getByRole("link", { name }).click();

// No entry of the tab's history has a token.
async function assertNoToken(page) {
  const session = await page.context().newCDPSession(page);
  const { entries } = await session.send("Page.getNavigationHistory");
  for (const entry of entries) assert.doesNotMatch(entry.url, /jwt|eyJ|sign_in=/, "the history has a token");
  assert.doesNotMatch(page.url(), /jwt|eyJ|sign_in=/, "the address bar has a token");
}

// The attacker's token, from a sign-in elsewhere.
const theirs = `${url}auth/login/dev?user=eve&next=${encodeURIComponent(`${url}?sign_in=0`)}`;
// Fetch Metadata identifies fetch(), which is rejected.
const link = await new Promise((answers, fails) => {
  get(theirs, (answer) => answers(answer.resume().headers.location)).on("error", fails);
});
assert.match(link, /jwt=/);

const context = await browser.newContext();
{
  const page = await context.newPage();
  for (const foreign of [link, `${url}?jwt=`, `${url}?jwt=made-up#x`]) {
    await page.goto(foreign);
    await signedOut(page);
    await ignored(page);
    await assertNoToken(page);
  }
  // A sign-in of this browser that the page did not begin, because a link led the user there.
  await page.goto(`${url}auth/login/dev?user=eve&next=${encodeURIComponent(`${url}?sign_in=0`)}`);
  await signedOut(page);
  await ignored(page);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0, "nothing is kept");
  await page.close();
}

// The signed-in user does not change.
const alice = await context.newPage();
await alice.goto(url);
await begin(alice);
await choose(alice, "Alice");
await signedIn(alice, "Alice");
await assertNoToken(alice);
for (const foreign of [link, `${url}?jwt=`, `${url}?jwt=a&jwt=b`, `${url}auth/login/dev?user=eve&next=${encodeURIComponent(url)}`]) {
  await alice.goto(foreign);
  await signedIn(alice, "Alice");
  await assertNoToken(alice);
}
await alice.reload();
await signedIn(alice, "Alice");
await alice.goBack();
await alice.goForward();
await signedIn(alice, "Alice");
await assertNoToken(alice);

// Tabs that begin together all finish, in any order.
const tabs = [await context.newPage(), await context.newPage()];
for (const tab of tabs) {
  await tab.goto(url);
  await begin(tab);
  await tab.getByRole("heading", { name: "Choose a test user" }).waitFor();
}
for (const [tab, name] of [[tabs[1], "Bob"], [tabs[0], "Trinity"]]) {
  await choose(tab, name);
  await signedIn(tab, name);
}

// A page that opens the gateway's, waits until the user begins to sign in there, and passes its own token.
const other = await context.newPage();
await other.goto(hostile);
const opened = other.waitForEvent("popup");
await other.evaluate((url) => { window.opened = window.open(url); }, url);
const popup = await opened;
await begin(popup);
await popup.getByRole("heading", { name: "Choose a test user" }).waitFor();
for (const foreign of [link, `${url}auth/login/dev?user=eve&next=${encodeURIComponent(url)}`]) {
  await other.evaluate((link) => { window.opened.location = link; }, foreign);
  await ignored(popup);
  await signedOut(popup);
  await assertNoToken(popup);
}
await begin(popup);
await choose(popup, "Alice");
await signedIn(popup, "Alice");
await assertNoToken(popup);

await browser.close();
