// `{{name}}`: an extension. A sign-in, put to the rule.

import config from "auth-gateway:plugin/config@1.0.0";

import { letsIn } from "./rule.js";

export const onNewUser = { onNewUser: judge };
export const onUserLogin = { onUserLogin: judge };

/** Gives attributes to set on the user, or throws the sentence that they read in place of being let in. */
function judge({ user }) {
    const domain = config.get("domain") ?? "";
    // An address counts only where the operator trusts whoever has verified it.
    const email = (user.emailTrusted && user.email) || "";
    if (!letsIn(domain, email)) throw "People with your email address cannot sign in here.";
    return [["email-domain", domain]];
}
