// Every page, in both languages, narrow and wide, light and dark: node pages.mjs URL SCREENSHOT-DIRECTORY
//
// URL is a gateway under `gateway dev` with the providers `zulu`, `google` and `github`, a plugin that rejects
// `reject-me`, and services. axe-core finds no violation, nothing is wider than the screen, and the browser reports no
// error. Then a sign-in without JavaScript. $CHROMIUM is the browser.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { get } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, screenshots] = process.argv.slice(2);
mkdirSync(screenshots, { recursive: true });
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});

const SIZES = { phone: { width: 320, height: 640 }, desktop: { width: 1280, height: 900 } };
const app = "http://localhost:5173/reports?year=2026";
const at = (path) => new URL(path, url).href;
const next = (address) => `next=${encodeURIComponent(address)}`;

// With exactly these headers. fetch() would add some.
const ask = (address, headers) => new Promise((answers, fails) => {
  get(address, { headers }, async (answer) => {
    let body = "";
    for await (const chunk of answer.setEncoding("utf8")) body += chunk;
    answers({ status: answer.statusCode, cookies: answer.headers["set-cookie"] ?? [], body });
  }).on("error", fails);
});

// The question whether to begin one more sign-in, for a browser that has begun several, when a page of another site
// begins one.
async function oneMore(language) {
  const headers = {
    "accept-language": language, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document",
  };
  const jar = new Map();
  for (let begun = 0; begun < 12; begun += 1) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const path = `auth/login/google?${next(`${at("/")}?${"x".repeat(600)}`)}`;
    const answer = await ask(at(path), { ...headers, cookie });
    if (answer.status === 200) return answer.body;
    for (const line of answer.cookies) {
      const [name, value] = line.split(";")[0].split("=");
      if (value) jar.set(name, value); else jar.delete(name);
    }
  }
  throw new Error("the browser is never asked");
}

const signIn = (page) => page.goto(at("/")).then(async () => {
  await page.locator("#providers a[data-provider=dev]").click();
  await page.getByRole("link", { name: "Alice" }).click();
  await page.getByRole("heading", { name: "Alice" }).waitFor();
});

// The name of each page, and how to open it.
const PAGES = {
  "signed-out": async (page) => {
    await page.goto(at("/"));
    await page.locator("#providers a").first().waitFor();
  },
  "choose": (page) => page.goto(at(`/auth/login?${next(app)}`)),
  "test-users": (page) => page.goto(at(`/auth/login/dev?${next(app)}`)),
  "one-more": async (page, language) => {
    const html = await oneMore(language);
    await page.route("**/one-more", (route) => route.fulfill({ body: html, contentType: "text/html; charset=utf-8" }));
    await page.goto(at("/one-more"));
  },
  "profile": signIn,
  "permissions": async (page) => {
    await signIn(page);
    await page.locator("#service").selectOption("example");
    await page.locator("#service-form button").click();
    await page.locator("#token-signature[data-state=good]").waitFor();
    await page.locator("summary").click();
  },
  "username": async (page) => {
    await signIn(page);
    await page.locator("#username-input").fill("admin");
    await page.locator("#username-form button").click();
    await page.locator("#username-error:not(:empty)").waitFor();
  },
  "problem": async (page) => {
    await signIn(page);
    await page.locator("#service").selectOption("trap");
    await page.locator("#service-form button").click();
    await page.locator("#problem button").waitFor();
  },
  "signed-out-again": async (page) => {
    await signIn(page);
    await page.locator("#sign-out").click();
    await page.locator("#notice:not([hidden])").waitFor();
  },
  "rejected": (page) => page.goto(at(`/auth/login/dev?user=reject-me&${next(app)}`)),
  "elsewhere": (page) => page.goto(at("/auth/oauth_callback/google?state=made-up&code=x")),
  "not-found": (page) => page.goto(at("/nothing")),
  "unknown-provider": (page) => page.goto(at(`/auth/login/gitlab?${next(app)}`)),
  "unknown-application": (page) => page.goto(at(`/auth/login/google?${next("https://shop.example.com/")}`)),
  "bad-return": (page) => page.goto(at("/auth/login?next=nonsense")),
  "wrong-method": (page) => page.goto(at("/auth/update")),
  "provider-down": (page) => page.goto(at(`/auth/login/github?${next(app)}`)),
};
const FAILS = /^Failed to load resource: the server responded with a status of (400|403|404|405|502|503)/;

const wrong = [];
for (const language of ["en", "de"]) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of ["light", "dark"]) {
      for (const [name, open] of Object.entries(PAGES)) {
        const context = await browser.newContext({ viewport, colorScheme, locale: language, reducedMotion: "reduce" });
        const page = await context.newPage();
        const which = `${name}-${language}-${size}-${colorScheme}`;
        page.setDefaultTimeout(120_000);
        page.on("pageerror", (error) => wrong.push(`${which}: ${error}`));
        page.on("console", (message) => {
          const bad = ["error", "warning"].includes(message.type()) && !FAILS.test(message.text());
          if (bad) wrong.push(`${which}: ${message.text()}`);
        });
        page.on("request", (request) => {
          if (!request.url().startsWith(url) && !request.url().startsWith("data:")) wrong.push(`${which} asks ${request.url()}`);
        });
        try {
          await open(page, language);
        } catch (error) {
          wrong.push(`${which}: ${error}`);
          await context.close();
          continue;
        }
        await page.screenshot({ path: join(screenshots, `${which}.png`), fullPage: true });
        await page.evaluate(axe);
        const { violations, incomplete } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations", "incomplete"] }));
        const found = [...violations, ...incomplete.filter(({ id }) => id !== "color-contrast")];
        for (const { id, help, nodes } of found) {
          wrong.push(`${which}: ${id}: ${help}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(" | ")}`);
        }
        const seen = await page.evaluate(() => ({
          lang: document.documentElement.lang,
          headings: document.querySelectorAll("h1").length,
          scroll: document.documentElement.scrollWidth,
          width: document.documentElement.clientWidth,
        }));
        if (seen.lang !== language) wrong.push(`${which}: the page is in ${seen.lang}`);
        if (seen.scroll > seen.width) wrong.push(`${which}: ${seen.scroll} pixels wide on a screen of ${seen.width}`);
        await context.close();
      }
    }
  }
}

// B9: the page shows the provider's display name, not `google:1`.
{
  const page = await browser.newPage();
  await page.goto(at("/"));
  await page.locator("#providers a[data-provider=google]").click();
  await page.locator("#provider:not(:empty)").waitFor();
  assert.equal(await page.locator("#provider").textContent(), "Google");
  await page.close();
}

// By keyboard alone: the first stop skips the top of the page, and every stop is visible.
{
  const page = await browser.newPage();
  await page.goto(at(`/auth/login?${next(app)}`));
  const stops = [];
  for (let stop = 0; stop < 6; stop += 1) {
    await page.keyboard.press("Tab");
    stops.push(await page.evaluate(() => {
      const { outlineStyle } = getComputedStyle(document.activeElement);
      return `${document.activeElement.className} ${outlineStyle}`;
    }));
  }
  assert.match(stops[0], /skip/);
  assert.ok(stops.every((stop) => stop.endsWith("solid")), stops.join("\n"));
  await page.close();
}

// Without JavaScript: from the gateway's own page, and from the one with the ways to sign in, up to the redirect back.
{
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  for (const [path, back] of [["/", at("/")], [`/auth/login?${next(app)}`, app]]) {
    await page.goto(at(path));
    assert.equal(await page.locator("#providers a").count(), 4);
    await page.screenshot({ path: join(screenshots, `no-script-${path === "/" ? "home" : "choose"}.png`), fullPage: true });
    await page.locator("#providers a[data-provider=dev]").click();
    await page.route(`${app.split("?")[0]}**`, (route) => route.fulfill({ body: "back" }));
    await page.getByRole("link", { name: "Alice" }).click();
    await page.waitForURL((address) => address.href.startsWith(back) && address.searchParams.has("jwt"));
  }
  await context.close();
}

await browser.close();
assert.deepEqual(wrong, []);
