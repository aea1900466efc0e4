// A page on another origin tries the admin listener: node admin-page.mjs ADMIN-ADDRESS TOKEN PAGE-URL
//
// It knows the token, unlike any real page. $CHROMIUM is the browser. Prints the number of attempts, and exits with 1
// if one of them was answered.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [admin, token, home] = process.argv.slice(2);
const port = admin.split(":")[1];
// A name whose owner has pointed it here (DNS rebinding): to the browser it is the same origin.
const rebound = `http://rebound.example:${port}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",
    // The browser's own protection of loopback is switched off, so that only the gateway's defences count.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights",
  ],
});

const paths = ["/health", "/ready", "/metrics", "/plugins", "/plugins/example/reload", "/plugins/example/rollback"];

// Runs in the page. Returns the answers that it could read, and the number of attempts.
async function attempt({ origins, paths, token, wait }) {
  const read = [];
  let tried = 0;
  for (const origin of origins) {
    for (const path of paths) {
      for (const method of ["GET", "POST"]) {
        for (const mode of ["cors", "no-cors", "same-origin"]) {
          for (const headers of [{}, { authorization: `Bearer ${token}` }]) {
            tried += 1;
            try {
              const answer = await fetch(origin + path, { method, mode, headers, credentials: "include" });
              if (answer.ok) read.push(`${method} ${origin}${path} ${mode}: ${await answer.text()}`);
            } catch {
              // The browser does not show the answer to the page.
            }
          }
        }
      }
      for (const element of ["img", "script", "iframe", "link", "form"]) {
        tried += 1;
        const made = document.createElement(element);
        if (element === "form") {
          Object.assign(made, { action: `${origin}${path}?token=${token}`, method: "post", target: "sink" });
          document.body.append(made);
          made.submit();
        } else if (element === "link") {
          Object.assign(made, { rel: "stylesheet", href: origin + path });
          document.head.append(made);
        } else {
          made.src = origin + path;
          document.body.append(made);
        }
        await new Promise((done) => {
          if (element === "form") return setTimeout(done, wait);
          if (element !== "iframe") made.onload = () => (read.push(`${element} ${origin}${path}`), done());
          else made.onload = done;
          made.onerror = done;
        });
      }
    }
  }
  return { read, tried };
}

let total = 0;
const page = await browser.newPage();
// The page was served before its owner pointed the name here.
await page.route(`${rebound}/`, (route) =>
  route.fulfill({ contentType: "text/html", body: "<iframe name=sink></iframe>" }),
);
for (const from of [home, `${rebound}/`]) {
  await page.goto(from);
  const origins = from === home ? [`http://${admin}`, `http://localhost:${port}`, rebound] : [rebound, `http://${admin}`];
  const { read, tried } = await page.evaluate(attempt, { origins, paths, token, wait: 50 });
  assert.deepEqual(read, [], `a page at ${from} got through`);
  total += tried;
}
await browser.close();
console.log(`${total} attempts of pages, 0 got through`);
