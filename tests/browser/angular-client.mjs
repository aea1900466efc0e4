// The published Angular client of the service that the gateway replaces, on a test page: node angular-client.mjs URL
//
// URL is a gateway under `gateway dev` with the service `example`. The client knows the providers `google` and `github`, and
// nothing of this gateway. Its modules are served as they were published, from another port of this machine. $CHROMIUM is the
// browser.

import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const url = process.argv[2].replace(/\/$/, "");
const modules = new URL("../upstream/angular-client/node_modules/", import.meta.url);

const imports = {
  "@angular/core": "@angular/core/fesm2022/core.mjs",
  "@angular/common": "@angular/common/fesm2022/common.mjs",
  "@angular/common/http": "@angular/common/fesm2022/http.mjs",
  "@angular/compiler": "@angular/compiler/fesm2022/compiler.mjs",
  "@angular/platform-browser": "@angular/platform-browser/fesm2022/platform-browser.mjs",
  "dgp-oauth2-ng": "dgp-oauth2-ng/fesm2022/dgp-oauth2-ng.mjs",
  "rxjs": "rxjs/dist/esm/index.js",
  "rxjs/operators": "rxjs/dist/esm/operators/index.js",
  "tslib": "tslib/tslib.es6.mjs",
  "zone.js": "zone.js/fesm2015/zone.js",
};
const map = Object.fromEntries(Object.entries(imports).map(([name, path]) => [name, `/modules/${path}`]));

// An application that uses the client: its widget, the name of the signed-in user, and permissions on demand.
const page = `<!doctype html><title>Application</title>
<script type="importmap">${JSON.stringify({ imports: map })}</script>
<app-root></app-root>
<script type="module">
  import "zone.js";
  import "@angular/compiler";
  import { Component, importProvidersFrom, inject } from "@angular/core";
  import { CommonModule } from "@angular/common";
  import { bootstrapApplication } from "@angular/platform-browser";
  import { AuthService, DgpOauth2Module } from "dgp-oauth2-ng";
  const App = Component({
    selector: "app-root",
    standalone: true,
    imports: [CommonModule, DgpOauth2Module],
    template: \`<dgp-oauth2-ng></dgp-oauth2-ng><p id="who">{{ (auth.getUser() | async)?.profile?.name ?? "nobody" }}</p>
      <button (click)="ask()">Ask</button><pre>{{ answer | json }}</pre>\`,
  })(class {
    auth = inject(AuthService);
    answer = null;
    constructor() {
      this.auth.configure({ authServerUrl: "${url}", jwtLocalStorageKey: "token", jwtQueryParam: "jwt", profilePagePath: "/" });
    }
    ask() { this.auth.permission("example").subscribe((answer) => { this.answer = answer; }); }
  });
  bootstrapApplication(App, { providers: [importProvidersFrom(DgpOauth2Module)] });
</script>`;

const server = createServer(({ url: path }, answer) => {
  const { pathname } = new URL(path, "http://localhost");
  if (!pathname.startsWith("/modules/")) return answer.setHeader("content-type", "text/html; charset=utf-8").end(page);
  const asked = new URL(pathname.slice("/modules/".length), modules);
  // Imports of rxjs have no file name extension.
  const file = [asked, new URL(`${asked}.js`), new URL(`${asked}/index.js`)].find((path) => existsSync(path) && statSync(path).isFile());
  if (!file) return answer.writeHead(404).end();
  return answer.setHeader("content-type", "text/javascript").end(readFileSync(file));
});
await new Promise((listens) => { server.listen(0, "localhost", listens); });
const origin = `http://localhost:${server.address().port}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});
const tab = await browser.newPage();
tab.setDefaultTimeout(120_000);
const complaints = [];
tab.on("pageerror", (error) => complaints.push(String(error)));
tab.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });

const who = (name) => tab.locator("#who", { hasText: name }).waitFor();
try {
  await tab.goto(`${origin}/reports?year=2026`);
  await who("nobody");
  await tab.locator(".login").click();
  await tab.getByRole("heading", { name: "Choose a test user" }).waitFor();
  await tab.getByRole("link", { name: "Alice" }).click();
  await who("Alice");
  assert.equal(tab.url(), `${origin}/reports?year=2026`, "the client takes the token out of the address");
  await tab.getByRole("button", { name: "Ask" }).click();
  await tab.locator("pre", { hasText: "provider-token" }).waitFor();
  await tab.reload();
  await who("Alice");
  // The client checks its stored token, and forgets it when the user signs out.
  await tab.locator(".widget").hover();
  await tab.locator(".menu-line").last().click();
  await tab.reload();
  await who("nobody");
  // The client requests an image without an address if the profile has none. The gateway is not involved.
  assert.deepEqual(complaints.filter((text) => !text.includes("avatar") && !/null/.test(text)), []);
} catch (error) {
  console.error(`at ${tab.url().split("?")[0]}\n${error.stack}\n${complaints.join("\n")}`);
  process.exitCode = 1;
}
await browser.close();
server.close();
