// The roles of users, and the permissions of roles. Independent of the gateway, so that it can be tested alone.
//
// | setting | meaning |
// |---|---|
// | `role.<role>` | what the role may do: a list of permissions (`grammar.js`) |
// | `default` | the roles of everyone |
// | `user-id.<id>` | the roles of the user with this id |
// | `username.<name>` | the roles of the user with this username, ignoring case |
// | `email.<address>` | the roles of the user with this address, ignoring case |
// | `attribute.<name>=<value>` | the roles of all users with this attribute |
// | `list-roles-as` | the name of a permission that lists the user's roles |
//
// Roles are in the order id, username, email, attributes, default. If two roles have the same permission, the first one
// counts, so a role of one person overrides the default.

import { entries, Mistake, names } from "./grammar.js";
import { splitOnce, trim } from "./text.js";

const UNKNOWN =
    "there is no such setting; they are `default`, `list-roles-as`, and those that begin with `role.`, " +
    "`user-id.`, `username.`, `email.` or `attribute.`";

// A holder of roles: the prefix of the setting's name, and the rest. JSON keeps them apart: the attribute `a` with the
// value `b=c` is not `a=b` with the value `c`.
const holder = (kind, ...rest) => JSON.stringify([kind, ...rest]);
const everybody = () => holder("default");
const byId = (id) => holder("user-id", id);
const byUsername = (name) => holder("username", name.toLowerCase());
const byEmail = (address) => holder("email", address.toLowerCase());
const byAttribute = (name, value) => holder("attribute", name, value);

/** The name of the setting that gives a holder roles. */
function settingOf(holder) {
    const [kind, ...rest] = JSON.parse(holder);
    return rest.length === 0 ? kind : `${kind}.${rest.join("=")}`;
}

/** The settings, read and checked. */
export class Policy {
    // Maps, because an object has inherited members that could equal an operator's name.
    #roles = new Map();
    #holders = new Map();
    #listRolesAs = "";

    /**
     * Reads the settings: names and values. All of them are checked, so that a mistake is seen at the
     * first question and not when the one person comes whom it concerns.
     *
     * @throws {Mistake} a sentence for the operator that names the setting
     */
    constructor(settings) {
        for (const [name, value] of settings) {
            inSetting(name, () => this.#read(name, value));
        }
        for (const [holder, roles] of this.#holders) {
            const role = roles.find((role) => !this.#roles.has(role));
            if (role !== undefined) {
                inSetting(settingOf(holder), () => {
                    throw new Mistake(`there is no role \`${role}\`; define it by a setting \`role.${role}\``);
                });
            }
        }
    }

    #read(setting, value) {
        if (setting === "default") return this.#give(everybody(), value);
        if (setting === "list-roles-as") {
            this.#listRolesAs = trim(value);
            return;
        }
        const [kind, name] = splitOnce(setting, ".") ?? [];
        if (kind === undefined) throw new Mistake(UNKNOWN);
        if (name === "") throw new Mistake("nothing follows the dot");
        switch (kind) {
            case "role":
                this.#roles.set(name, entries(value));
                return;
            case "user-id":
                return this.#give(byId(name), value);
            case "username":
                return this.#give(byUsername(name), value);
            case "email":
                if (!name.includes("@")) throw new Mistake("this is not an email address");
                return this.#give(byEmail(name), value);
            case "attribute": {
                const attribute = splitOnce(name, "=");
                if (attribute === null) throw new Mistake("write `attribute.<name>=<value>`");
                return this.#give(byAttribute(...attribute), value);
            }
            default:
                throw new Mistake(UNKNOWN);
        }
    }

    // Two settings may be for one holder, for example with two spellings of an address. The person has the roles of
    // both.
    #give(holder, roles) {
        this.#holders.set(holder, [...(this.#holders.get(holder) ?? []), ...names(roles)]);
    }

    /** The roles of a person, each once, the first to decide first. */
    roles({ id, username, email, attributes }) {
        const holders = [
            byId(id),
            ...(username === null ? [] : [byUsername(username)]),
            ...(email === null ? [] : [byEmail(email)]),
            ...attributes.map(([name, value]) => byAttribute(name, value)),
            everybody(),
        ];
        return [...new Set(holders.flatMap((holder) => this.#holders.get(holder) ?? []))];
    }

    /** A person's permissions in a service, each a `name` and a `value`, sorted by name. */
    permissions(service, person) {
        const roles = this.roles(person);
        const permissions = new Map();
        for (const entry of roles.flatMap((role) => this.#roles.get(role))) {
            const holds = entry.service === null || entry.service === service;
            if (holds && !permissions.has(entry.name)) permissions.set(entry.name, entry.value);
        }
        if (this.#listRolesAs !== "") {
            permissions.set(this.#listRolesAs, { tag: "json", val: JSON.stringify(roles) });
        }
        return [...permissions.keys()].sort().map((name) => ({ name, value: permissions.get(name) }));
    }
}

/** Does something, and says of which setting a mistake in it is. */
function inSetting(name, read) {
    try {
        read();
    } catch (error) {
        if (error instanceof Mistake) throw new Mistake(`setting \`${name}\`: ${error.message}`);
        throw error;
    }
}
