// The gateway's own page: sign in, look at your profile and permissions, sign out.
//
// The page uses the same endpoints as any application. A sign-in returns the session token in the query, as `jwt`. The page
// removes it from the address bar immediately, and stores it for this tab. It accepts a token only if the sign-in began in
// this tab, because anyone can make a link with their own token. Data from the network is shown as text, never as markup.
// The page's own texts are in the HTML, in the browser's language.

const STORED = "auth-gateway.session";
const BEGUN = "auth-gateway.begun";
const PATIENCE = 15_000; // milliseconds

const byId = (id) => document.getElementById(id);
const show = (id, shown) => { byId(id).hidden = !shown; };
const say = (text) => { byId("status").textContent = text; };

const { home, names, texts } = document.body.dataset;
const TEXTS = JSON.parse(texts);
const NAMES = JSON.parse(names);
// Dates use the format of the user's country if its language is the page's.
const LANGUAGE = navigator.languages.find((tag) => tag.split("-")[0] === document.documentElement.lang)
  ?? document.documentElement.lang;

// Returns a text with its placeholders filled in.
const t = (key, values = {}) => TEXTS[key].replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

// --- The session token ----------------------------------------------------------------------------

let session = null;

function keep(token) {
  session = token;
  // In a browser without storage, the session lasts until the page is reloaded.
  try {
    if (token) sessionStorage.setItem(STORED, token); else sessionStorage.removeItem(STORED);
  } catch { /* kept in memory only */ }
}

// Marks a sign-in with a random number, which is stored for this tab and comes back with the token. Pages of other origins
// see neither the storage nor the address, so they cannot know it.
function begin(provider) {
  const mark = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    sessionStorage.setItem(BEGUN, mark);
  } catch {
    throw new Failure(t("storage"));
  }
  const login = new URL(provider, home);
  const next = new URL("/", home);
  next.searchParams.set("sign_in", mark);
  login.searchParams.set("next", next);
  location.assign(login);
}

// Returns whether this tab began the sign-in with this mark. Each mark works once.
function began(mark) {
  try {
    if (!mark || sessionStorage.getItem(BEGUN) !== mark) return false;
    sessionStorage.removeItem(BEGUN);
    return true;
  } catch {
    return false;
  }
}

// Reads the address: "arrived" (with a token), "ignored" (a token that is not for this tab), "left" (signed out), or "".
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
    throw new Failure(t("unreachable"));
  }
  if (!response.ok || answer === null || typeof answer !== "object") {
    const { status } = response;
    const reason = answer?.error;
    throw new Failure(typeof reason === "string" ? t("no_answer_because", { status, reason }) : t("no_answer", { status }));
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
  button.textContent = t("try_again");
  button.addEventListener("click", again);
  byId("problem").className = "problem";
  byId("problem").replaceChildren(text, button);
  byId("problem").scrollIntoView({ block: "nearest" });
}

// Runs an action. If it fails, shows the error with a button to try again. The control keeps the focus, which it would lose
// if it were disabled.
async function attempt(action, control) {
  if (control?.getAttribute("aria-disabled") === "true") return;
  clearProblem();
  control?.setAttribute("aria-disabled", "true");
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Failure)) console.error(error);
    const message = error instanceof Failure ? error.message : t("page_failed");
    showProblem(message, () => attempt(action, control));
  } finally {
    control?.removeAttribute("aria-disabled");
  }
}

// --- Who you are ----------------------------------------------------------------------------------

async function refresh({ moveFocus = false, notice = "" } = {}) {
  const pending = setTimeout(() => show("loading", true), 300);
  let answer;
  try {
    answer = await ask("/auth/check");
  } finally {
    clearTimeout(pending);
    show("loading", false);
  }
  const profile = answer.authenticated === true ? answer.profile : null;
  const why = notice || (session ? t("session_ended") : "");
  if (!profile) keep(null);
  show("result", false);
  show("notice", why !== "");
  byId("notice").textContent = why;
  document.body.dataset.view = profile ? "signed-in" : "signed-out";
  byId("signed-out").classList.remove("waiting");
  show("signed-out", !profile);
  for (const id of ["signed-in", "permissions", "sign-out"]) show(id, Boolean(profile));
  if (profile) {
    showProfile(profile);
    await showServices();
  }
  if (moveFocus) byId(profile ? "name" : "signed-out-title").focus();
  if (profile) say(t("signed_in", { name: byId("name").textContent }));
  else say(why);
}

function showProfile(profile) {
  const name = profile.name || profile.username || profile.email || t("nameless");
  byId("name").textContent = name;
  byId("initial").textContent = [...name][0].toUpperCase();
  byId("email").textContent = profile.email || t("no_email");
  byId("username").textContent = profile.username ?? t("not_set");
  byId("username").classList.toggle("muted", !profile.username);
  byId("user-id").textContent = profile.id;
  byId("provider").textContent = providerName(profile.provider_id ?? "");
  const joined = new Date(profile.join_date);
  byId("joined").textContent = Number.isNaN(joined.getTime()) ? "" : joined.toLocaleDateString(LANGUAGE, { dateStyle: "long" });
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

// `provider_id` is the provider's name, a colon, and who the person is there.
function providerName(id) {
  const [name] = id.split(":");
  if (name === "dev") return t("test_sign_in");
  return Object.hasOwn(NAMES, name) ? NAMES[name] : name;
}

// The links also work without a script. With it, the page knows that a token belongs to this tab.
for (const link of document.querySelectorAll("#providers a")) {
  const { href } = link;
  // In a new tab, the link opens this page, where a sign-in can begin.
  link.href = "/";
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    attempt(() => begin(href), link);
  });
}

// The API's reasons for rejecting a username, and this page's texts for them.
const REFUSALS = {
  "Username already taken": () => t("username_taken"),
  "This username is reserved": () => t("username_reserved"),
  "A username has 3 to 32 characters": () => t("username_length"),
  "A username has letters a to z, digits, - and _ only": () => t("username_characters"),
  "A username must not begin with -": () => t("username_dash"),
  "A username must not look like an id": () => t("username_id"),
};

async function setUsername() {
  const input = byId("username-input");
  byId("username-error").textContent = "";
  input.removeAttribute("aria-invalid");
  const answer = await ask("/auth/update", { form: { username: input.value } });
  if (answer.success === true) {
    await refresh({ moveFocus: true });
    say(t("username_set"));
    return;
  }
  const refusal = Object.hasOwn(REFUSALS, answer.error) ? REFUSALS[answer.error]() : answer.error;
  byId("username-error").textContent = refusal ?? t("username_refused");
  input.setAttribute("aria-invalid", "true");
  input.focus();
}

async function signOut() {
  const here = `${home}/#signed-out`;
  const answer = await ask("/auth/logout", { form: { next: here } });
  if (answer.success === true) keep(null);
  // The provider signs the user out too, and sends them back here.
  if (typeof answer.url === "string" && answer.url !== here && /^https?:\/\//.test(answer.url)) {
    location.assign(answer.url);
    return;
  }
  await refresh({ moveFocus: true, notice: answer.success === true ? t("signed_out") : "" });
}

// --- What you may do ------------------------------------------------------------------------------

async function showServices() {
  const { services } = await ask("/auth/services");
  const select = byId("service");
  const chosen = select.value;
  select.replaceChildren(...services.map((service) => new Option(service, service)));
  if (services.includes(chosen)) select.value = chosen;
  show("service-form", services.length > 0);
  show("no-services", services.length === 0);
}

async function showPermissions() {
  const service = byId("service").value;
  show("result", false);
  const answer = await ask("/auth/authorize", { query: { service } });
  if (typeof answer.token !== "string") {
    // No token: the session has ended, which refresh() shows, or the service is no longer configured.
    await refresh({ moveFocus: true });
    if (session) throw new Failure(t("service_gone", { service }));
    return;
  }
  const permissions = Object.entries(answer.permissions ?? {});
  const count = permissions.length;
  byId("summary").textContent = count === 0 ? t("no_permissions", { service })
    : count === 1 ? t("one_permission", { service }) : t("permissions", { count, service });
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
  // With spaces, so that long lists can wrap.
  code.textContent = JSON.stringify(value, null, 1).replace(/\n\s*/g, " ");
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
  const at = (seconds) => new Date(seconds * 1000).toLocaleTimeString(LANGUAGE, { timeStyle: "medium", hourCycle: "h23" });
  const minutes = Math.round((claims.exp - claims.iat) / 60);
  byId("token-times").textContent = t("token_times", { signed: at(claims.iat), minutes, expires: at(claims.exp) });
}

// Verifies a token as an application does: finds the key by its id, and checks the signature.
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
  badge.textContent = t("checking_signature");
  let holds = null;
  // A browser without this algorithm, or a page without https, cannot check the signature. That does not make it bad.
  try { holds = await signatureHolds(token); } catch { /* shown below */ }
  if (byId("token").textContent !== token) return;
  badge.dataset.state = holds === null ? "unknown" : holds ? "good" : "bad";
  badge.textContent = holds === null ? t("signature_unknown") : holds ? t("signature_good") : t("signature_bad");
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

// A sign-in comes back to the gateway's own address, so it must begin there.
if (location.origin === home) {
  const came = find();
  const notices = { ignored: t("foreign"), left: t("signed_out") };
  attempt(() => refresh({ moveFocus: came === "arrived", notice: notices[came] ?? "" }));
} else {
  location.replace(home);
}
