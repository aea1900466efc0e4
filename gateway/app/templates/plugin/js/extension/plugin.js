// `{{name}}`: an extension. It applies the rule to a sign-in.

import config from "auth-gateway:plugin/config@1.0.0";

import { letsIn } from "./rule.js";

export const onNewUser = { onNewUser: judge };
export const onUserLogin = { onUserLogin: judge };

/** Returns attributes to set on the user, or throws the reason for the rejection. */
function judge({ user }) {
    const domain = config.get("domain") ?? "";
    if (domain === "") throw unavailable("the setting `domain` is missing");
    // An address counts only if the operator trusts the party that verified it.
    const email = (user.emailTrusted && user.email) || "";
    if (!letsIn(domain, email)) throw rejected("People with your email address cannot sign in here.");
    return [["email-domain", domain]];
}

/** Rejects the sign-in: the user reads the sentence. */
const rejected = (sentence) => ({ tag: "rejected", val: sentence });

/** Fails without a verdict: the page asks the user to try later, and the sentence goes into the gateway's log. */
const unavailable = (sentence) => ({ tag: "unavailable", val: sentence });
