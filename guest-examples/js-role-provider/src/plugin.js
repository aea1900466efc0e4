// A permission provider with roles. The gateway's configuration has the roles of users, and the permissions of roles in
// each service.
//
// | file | what it does |
// |---|---|
// | `policy.js` | the settings: reads and checks them, and finds a person's roles and their permissions |
// | `grammar.js` | the syntax of a list of permissions |
// | `text.js` | white space |
// | here | passes the gateway's question to the policy |

import config from "auth-gateway:plugin/config@1.0.0";
import users from "auth-gateway:plugin/users@1.0.0";

import { Mistake } from "./grammar.js";
import { Policy } from "./policy.js";

export const permissionProvider = {
    getPermissions(service, userId) {
        const policy = readPolicy();
        const user = users.get(userId);
        if (user === null) throw failed(`there is no user with the id ${userId}`);
        return policy.permissions(service, person(user));
    },
};

function readPolicy() {
    try {
        return new Policy(config.all());
    } catch (error) {
        // Other exceptions are bugs, and end the call with a trap.
        throw error instanceof Mistake ? failed(error.message) : error;
    }
}

// `failed` means that a retry will not help. The gateway answers 503, signs nothing and logs the sentence, so a mistake
// in the settings never gives anyone more permissions.
const failed = (sentence) => ({ tag: "failed", val: sentence });

/** The properties of a user that the policy reads. */
const person = ({ id, username, email, emailTrusted, attributes }) => ({
    id,
    username,
    email: emailTrusted ? email : null,
    attributes,
});
