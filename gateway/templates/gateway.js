// The gateway's own page: sign in, see who you are and what you may do, sign out.
//
// It uses nothing but the endpoints that every application has. The session token comes back from a
// sign-in in the query, as `jwt`; it is taken out of the address bar at once and kept for this tab.
// A token counts only if the sign-in began in this tab: anybody can make a link with a token of theirs.
// Whatever comes from the network is shown as text, never as markup.

const STORED = "auth-gateway.session";
const BEGUN = "auth-gateway.begun";
const PATIENCE = 15_000; // milliseconds

const byId = (id) => document.getElementById(id);
const show = (id, shown) => { byId(id).hidden = !shown; };
const say = (text) => { byId("status").textContent = text; };

// --- The session token ----------------------------------------------------------------------------

let session = null;

function keep(token) {
  session = token;
  // A browser that lets nothing be stored still works until the page is loaded again.
  try {
    if (token) sessionStorage.setItem(STORED, token); else sessionStorage.removeItem(STORED);
  } catch { /* kept in memory only */ }
}

// A sign-in that begins here is marked with a random number, which is kept for this tab and comes back with
// the token. Nobody else knows it: pages of other origins see neither the storage nor the address.
function begin(provider) {
  const mark = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    sessionStorage.setItem(BEGUN, mark);
  } catch {
    throw new Failure("This page can sign you in only if your browser lets it store data for this tab.");
  }
  const login = new URL(provider);
  const next = new URL(login.searchParams.get("next") ?? location.origin);
  next.searchParams.set("sign_in", mark);
  login.searchParams.set("next", next);
  location.assign(login);
}

// Whether this tab began the sign-in with this mark. It is good once.
function began(mark) {
  try {
    if (!mark || sessionStorage.getItem(BEGUN) !== mark) return false;
    sessionStorage.removeItem(BEGUN);
    return true;
  } catch {
    return false;
  }
}

// What the address brings: "arrived", "ignored" (a token that is not for this tab), "left" (back from signing out), or nothing.
function find() {
  const here = new URL(location.href);
  const [token, mark] = ["jwt", "sign_in"].map((name) => here.searchParams.get(name));
  const ignored = here.hash === "#ignored";
  const signedOut = here.hash === "#signed-out";
  if (token !== null || mark !== null || ignored || signedOut) {
    here.searchParams.delete("jwt");
    here.searchParams.delete("sign_in");
    history.replaceState(null, "", here.pathname + here.search + (ignored || signedOut ? "" : here.hash));
  }
  try { session = sessionStorage.getItem(STORED); } catch { /* nothing is stored */ }
  if (token && began(mark)) {
    keep(token);
    return "arrived";
  }
  if (token !== null || ignored) return "ignored";
  return signedOut ? "left" : "";
}

// --- Asking the gateway ---------------------------------------------------------------------------

class Failure extends Error {}

async function ask(path, { query = {}, form } = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const headers = { accept: "application/json" };
  if (session) headers.authorization = `Bearer ${session}`;
  let response;
  let answer = null;
  try {
    response = await fetch(url, {
      method: form ? "POST" : "GET",
      headers,
      body: form && new URLSearchParams(form),
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
    answer = await response.json().catch(() => null);
  } catch {
    throw new Failure("The gateway cannot be reached. Check your connection, then try again.");
  }
  if (!response.ok || answer === null || typeof answer !== "object") {
    const reason = typeof answer?.error === "string" ? `: ${answer.error}` : "";
    throw Object.assign(new Failure(`The gateway did not answer (${response.status}${reason}).`), {
      status: response.status,
    });
  }
  return answer;
}

function clearProblem() {
  byId("problem").replaceChildren();
  byId("problem").className = "";
}

function showProblem(message, again) {
  const text = document.createElement("p");
  text.textContent = message;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Try again";
  button.addEventListener("click", again);
  byId("problem").className = "problem";
  byId("problem").replaceChildren(text, button);
  byId("problem").scrollIntoView({ block: "nearest" });
}

// Runs something that asks the gateway; what goes wrong is said, and can be tried again.
async function attempt(action, control) {
  clearProblem();
  if (control) control.disabled = true;
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Failure)) console.error(error);
    const message = error instanceof Failure ? error.message : "Something went wrong on this page.";
    showProblem(message, () => attempt(action, control));
  } finally {
    if (control) control.disabled = false;
  }
}

// --- Who you are ----------------------------------------------------------------------------------

async function check() {
  try {
    return await ask("/auth/check", { query: { next: location.origin + location.pathname } });
  } catch (error) {
    // The page was opened by another name than the gateway's own. A sign-in comes back to that one, and has to begin there.
    if (error.status !== 400) throw error;
    const answer = await ask("/auth/check");
    const [provider] = Object.values(answer.providers ?? {});
    const home = provider && new URL(provider.url).origin;
    if (home && home !== location.origin) location.replace(home);
    return answer;
  }
}

async function refresh({ moveFocus = false, notice = "" } = {}) {
  const pending = setTimeout(() => show("loading", true), 300);
  let answer;
  try {
    answer = await check();
  } finally {
    clearTimeout(pending);
    show("loading", false);
  }
  const profile = answer.authenticated === true ? answer.profile : null;
  const why = notice || (session ? "Your session has ended. Sign in again." : "");
  if (!profile) keep(null);
  show("result", false);
  show("notice", why !== "");
  byId("notice").textContent = why;
  show("signed-out", !profile);
  for (const id of ["signed-in", "permissions", "sign-out"]) show(id, Boolean(profile));
  if (profile) showProfile(profile); else showProviders(answer.providers ?? {});
  if (moveFocus) byId(profile ? "name" : "signed-out-title").focus();
  if (profile) say(`Signed in as ${byId("name").textContent}.`);
  else say(why);
}

function showProfile(profile) {
  const name = profile.name || profile.username || profile.email || "Nameless";
  byId("name").textContent = name;
  byId("initial").textContent = [...name][0].toUpperCase();
  byId("email").textContent = profile.email || "No verified email address";
  byId("username").textContent = profile.username ?? "not set";
  byId("username").classList.toggle("muted", !profile.username);
  byId("user-id").textContent = profile.id;
  byId("provider").textContent = providerName(profile.provider_id ?? "");
  const joined = new Date(profile.join_date);
  byId("joined").textContent = Number.isNaN(joined.getTime()) ? "" : joined.toLocaleDateString("en", { dateStyle: "long" });
  show("username-form", !profile.username);
  showAvatar(profile.avatar_url);
}

function showAvatar(url) {
  const image = byId("avatar");
  image.hidden = true;
  if (typeof url !== "string" || !url.startsWith("https://")) return;
  image.addEventListener("load", () => { image.hidden = false; }, { once: true });
  image.src = url;
}

function providerName(id) {
  const known = { google: "Google", github: "GitHub", dev: "the development sign-in" };
  return Object.hasOwn(known, id) ? known[id] : id;
}

function showProviders(providers) {
  const choices = Object.entries(providers)
    .filter(([, provider]) => /^https?:\/\//.test(provider?.url))
    .map(([id, provider]) => {
      const link = document.createElement("a");
      link.className = "choice";
      // Opened in another tab, it is this page, where a sign-in can begin.
      link.href = "/";
      link.dataset.provider = id;
      link.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        attempt(() => begin(provider.url));
      });
      const text = document.createElement("span");
      text.className = "who";
      text.textContent = id === "dev" ? "Sign in as somebody invented" : `Sign in with ${providerName(id)}`;
      link.append(text);
      const item = document.createElement("li");
      item.append(link);
      return item;
    });
  if (choices.length === 0) {
    const item = document.createElement("li");
    item.textContent = "No way to sign in is configured.";
    choices.push(item);
  }
  byId("providers").replaceChildren(...choices);
}

async function setUsername() {
  const input = byId("username-input");
  byId("username-error").textContent = "";
  input.removeAttribute("aria-invalid");
  const answer = await ask("/auth/update", { form: { username: input.value } });
  if (answer.success === true) {
    await refresh({ moveFocus: true });
    say("Your username is set.");
    return;
  }
  byId("username-error").textContent = answer.error ?? "The gateway did not take this username.";
  input.setAttribute("aria-invalid", "true");
  input.focus();
}

async function signOut() {
  const home = `${location.origin}${location.pathname}#signed-out`;
  let answer;
  try {
    answer = await ask("/auth/logout", { form: { next: home } });
  } catch (error) {
    // The page was opened by another name than the gateway's own, where nobody is sent back to.
    if (error.status !== 400) throw error;
    answer = await ask("/auth/logout", { form: {} });
  }
  if (answer.success === true) keep(null);
  // The provider signs the person out too, and sends them back here.
  const onward = new URL(answer.url ?? home);
  if (onward.protocol.startsWith("http") && onward.href !== new URL(home).href) {
    location.assign(onward);
    return;
  }
  await refresh({ moveFocus: true, notice: answer.success === true ? "You are signed out." : "" });
}

// --- What you may do ------------------------------------------------------------------------------

async function showPermissions() {
  const service = byId("service").value;
  show("result", false);
  const answer = await ask("/auth/authorize", { query: { service } });
  if (typeof answer.token !== "string") {
    // No token: the session has ended, or the service is no longer configured. The first shows itself.
    await refresh({ moveFocus: true });
    if (session) throw new Failure(`The gateway gives no permissions for ${service} any more.`);
    return;
  }
  const permissions = Object.entries(answer.permissions ?? {});
  const count = permissions.length === 1 ? "1 permission" : `${permissions.length || "No"} permissions`;
  byId("summary").textContent = `${count} in ${service}.`;
  byId("permission-table").hidden = permissions.length === 0;
  byId("permission-table").tBodies[0].replaceChildren(...permissions.map(permissionRow));
  showToken(answer.token);
  show("result", true);
  say(byId("summary").textContent);
  await showSignature(answer.token);
}

function permissionRow([name, value]) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  const code = document.createElement("code");
  code.textContent = JSON.stringify(value);
  row.append(head, document.createElement("td"));
  row.lastChild.append(code);
  return row;
}

const bytesOf = (base64url) =>
  Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

const decoded = (part) => JSON.parse(new TextDecoder().decode(bytesOf(part)));

function showToken(token) {
  const [header, claims] = token.split(".").slice(0, 2).map(decoded);
  byId("token-header").textContent = JSON.stringify(header, null, 2);
  byId("token-claims").textContent = JSON.stringify(claims, null, 2);
  byId("token").textContent = token;
  const at = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en", { timeStyle: "medium", hourCycle: "h23" });
  const minutes = Math.round((claims.exp - claims.iat) / 60);
  byId("token-times").textContent = `Signed at ${at(claims.iat)}, good for ${minutes} minutes, until ${at(claims.exp)}.`;
}

// What an application does before it believes a token: find the key by its id, check the signature.
const ALGORITHMS = {
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  ES256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  EdDSA: { name: "Ed25519" },
};

async function signatureHolds(token) {
  const [header, claims, signature] = token.split(".");
  const { alg, kid } = decoded(header);
  const { keys } = await ask("/.well-known/jwks.json");
  const key = keys.find((candidate) => candidate.kid === kid && candidate.alg === alg);
  if (!key) return false;
  const { kty, crv, x, y, n, e } = key;
  const imported = await crypto.subtle.importKey("jwk", { kty, crv, x, y, n, e }, ALGORITHMS[alg], false, ["verify"]);
  const signed = new TextEncoder().encode(`${header}.${claims}`);
  return crypto.subtle.verify(ALGORITHMS[alg], imported, bytesOf(signature), signed);
}

async function showSignature(token) {
  const badge = byId("token-signature");
  badge.dataset.state = "unknown";
  badge.textContent = "Checking the signature …";
  let holds = null;
  // A browser without this algorithm, or a page without https, cannot check: that is no bad signature.
  try { holds = await signatureHolds(token); } catch { /* said below */ }
  if (byId("token").textContent !== token) return;
  badge.dataset.state = holds === null ? "unknown" : holds ? "good" : "bad";
  badge.textContent = holds === null ? "Signature not checked: this browser cannot"
    : holds ? "Signature verified with the key set" : "Signature does not match the key set";
}

// --- Start ----------------------------------------------------------------------------------------

function onSubmit(id, action) {
  byId(id)?.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(action, event.submitter);
  });
}

onSubmit("username-form", setUsername);
onSubmit("service-form", showPermissions);
byId("service")?.addEventListener("change", () => show("result", false));
byId("sign-out").addEventListener("click", () => attempt(signOut, byId("sign-out")));

const came = find();
const NOTICES = {
  ignored: "You were sent here with a sign-in that did not begin in this tab. It was ignored.",
  left: "You are signed out.",
};
const notice = NOTICES[came] ?? "";
attempt(() => refresh({ moveFocus: came === "arrived", notice }));
