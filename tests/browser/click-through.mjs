// Clicks through the gateway's page as a user would: node click-through.mjs URL SCREENSHOT-DIRECTORY
//
// $CHROMIUM is the browser. Exits with 1 and the name of the step that failed.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, screenshots] = process.argv.slice(2);
mkdirSync(screenshots, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
});
const page = await browser.newPage({ viewport: { width: 1000, height: 1100 } });

// Complaints of the browser: violations of the content security policy, errors of the script,
// and requests to other servers than the gateway.
const complaints = [];
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) complaints.push(message.text());
});
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("request", (request) => {
  if (!request.url().startsWith(url) && !request.url().startsWith("data:")) complaints.push(`asked ${request.url()}`);
});

let shots = 0;
async function step(name, action) {
  try {
    await action();
  } catch (error) {
    await page.screenshot({ path: join(screenshots, "failed.png"), fullPage: true });
    console.error(`step "${name}" failed at ${page.url().split("?")[0]}\n${error.stack}\n${complaints.join("\n")}`);
    await browser.close();
    process.exit(1);
  }
  shots += 1;
  await page.screenshot({ path: join(screenshots, `${shots}-${name.replaceAll(" ", "-")}.png`), fullPage: true });
}

const assertNoToken = () => assert.doesNotMatch(page.url(), /jwt|eyJ/, "the address bar has the token");

const providers = () => page.getByRole("link", { name: "Continue as a test user" });

async function askFor(service) {
  await page.getByLabel("Service", { exact: true }).selectOption(service);
  await page.getByRole("button", { name: "Show permissions" }).click();
}

await step("signed out", async () => {
  await page.goto(url);
  await providers().waitFor();
});

await step("choose who to be", async () => {
  await providers().click();
  await page.getByRole("heading", { name: "Choose a test user" }).waitFor();
});

await step("profile", async () => {
  await page.getByRole("link", { name: "Alice" }).click();
  await page.getByRole("heading", { name: "Alice" }).waitFor();
  await page.getByText("alice@example.org").waitFor();
  assertNoToken();
  assert.deepEqual(await page.evaluate(() => document.cookie), "", "scripts see no cookie");
});

await step("permissions", async () => {
  await askFor("example");
  await page.getByRole("rowheader", { name: "provider-token" }).waitFor();
  const id = await page.locator("#user-id").textContent();
  assert.match(id, /^[0-9a-f]{32}$/);
  const claims = JSON.parse(await page.getByRole("region", { name: "Claims" }).textContent());
  assert.equal(claims.userid, id);
  assert.deepEqual(claims.permissions, { "provider-token": `example-${id}` });
  const header = JSON.parse(await page.getByRole("region", { name: "Header" }).textContent());
  assert.equal(header.alg, "RS256");
  await page.getByText("Signature verified with the key set").waitFor();
  assertNoToken();
  await page.getByText("the development sign-in").waitFor();
});

await step("b9 Enter keeps the focus", async () => {
  const button = page.getByRole("button", { name: "Show permissions" });
  const focused = () => page.evaluate(() => document.activeElement?.textContent);
  await button.focus();
  for (let asked = 0; asked < 3; asked += 1) {
    const answer = page.waitForResponse((response) => response.url().includes("/auth/authorize"));
    await page.keyboard.press("Enter");
    await answer;
    await page.getByText("Signature verified with the key set").waitFor();
    assert.equal(await focused(), "Show permissions");
  }
});

await step("a provider that fails", async () => {
  const before = complaints.length;
  await askFor("trap");
  await page.getByRole("alert").filter({ hasText: "503" }).waitFor();
  assert.equal(await page.getByRole("rowheader", { name: "provider-token" }).isVisible(), false, "the answer of another service is gone");
  // The browser reports the status, which is not a complaint about the page.
  complaints.push(...complaints.splice(before).filter((text) => !text.includes("503")));
});

await step("a username that is not free for anyone", async () => {
  await page.getByLabel("Choose a username").fill("admin");
  await page.getByRole("button", { name: "Set username" }).click();
  await page.getByRole("alert").filter({ hasText: "reserved" }).waitFor();
});

await step("username", async () => {
  await page.getByLabel("Choose a username").fill("alice_l");
  await page.getByRole("button", { name: "Set username" }).click();
  await page.getByText("alice_l", { exact: true }).waitFor();
  assert.equal(await page.getByLabel("Choose a username").isVisible(), false, "it is set once");
});

await step("still signed in after a reload", async () => {
  await page.reload();
  await page.getByText("alice_l", { exact: true }).waitFor();
  assertNoToken();
});

await step("signed out again", async () => {
  await page.getByRole("button", { name: "Sign out" }).click();
  await providers().waitFor();
  assert.equal(await page.getByText("alice@example.org").isVisible(), false, "nothing of the profile is shown");
  assert.equal(await page.evaluate(() => sessionStorage.length), 0, "nothing is kept");
  await page.reload();
  await providers().waitFor();
});

await step("on a phone", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  const { scroll, width } = await page.evaluate(() => ({
    scroll: document.documentElement.scrollWidth,
    width: document.documentElement.clientWidth,
  }));
  assert.ok(scroll <= width, `the page is ${scroll} pixels wide on a screen of ${width}`);
});

await browser.close();
assert.deepEqual(complaints, [], "the browser complained");
