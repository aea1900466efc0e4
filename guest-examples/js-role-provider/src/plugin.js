// A permission provider with roles: the gateway's configuration says who has which role, and what a role
// may do in which service.
//
// | file | what it does |
// |---|---|
// | `policy.js` | the settings: reads and checks them, gives roles to a person and permissions to roles |
// | `grammar.js` | how a list of permissions is written |
// | `text.js` | what counts as white space |
// | here | the gateway's question, put to the policy |

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
        // A bug goes on as what it is, and ends the call as a trap.
        throw error instanceof Mistake ? failed(error.message) : error;
    }
}

// `failed` says that asking again will not help. The gateway answers 503, signs nothing and logs the
// sentence: a mistake in the settings never widens what anybody may do.
const failed = (sentence) => ({ tag: "failed", val: sentence });

/** What the policy wants to know of a user. */
const person = ({ id, username, email, emailTrusted, attributes }) => ({
    id,
    username,
    email: emailTrusted ? email : null,
    attributes,
});
