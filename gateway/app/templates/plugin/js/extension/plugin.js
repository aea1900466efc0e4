// `{{name}}`: an extension. A sign-in, put to the rule.

import config from "auth-gateway:plugin/config@1.0.0";

import { letsIn } from "./rule.js";

export const onNewUser = { onNewUser: judge };
export const onUserLogin = { onUserLogin: judge };

/** Gives attributes to set on the user, or throws why they are not let in. */
function judge({ user }) {
    const domain = config.get("domain") ?? "";
    if (domain === "") throw unavailable("the setting `domain` is missing");
    // An address counts only where the operator trusts whoever has verified it.
    const email = (user.emailTrusted && user.email) || "";
    if (!letsIn(domain, email)) throw rejected("People with your email address cannot sign in here.");
    return [["email-domain", domain]];
}

/** What the person reads in place of being let in. */
const rejected = (sentence) => ({ tag: "rejected", val: sentence });

/** No verdict: the person is told to try later, and the gateway's log has the sentence. */
const unavailable = (sentence) => ({ tag: "unavailable", val: sentence });
