// The roles of users, and the permissions of roles. Independent of the gateway, so that it can be tested alone.
//
// | setting | meaning |
// |---|---|
// | `role.<role>` | what the role may do: a list of permissions (grammar.h) |
// | `default` | the roles of everyone |
// | `user-id.<id>` | the roles of the user with this id |
// | `username.<name>` | the roles of the user with this username, ignoring case |
// | `email.<address>` | the roles of the user with this address, ignoring case |
// | `attribute.<name>=<value>` | the roles of all users with this attribute |
// | `list-roles-as` | the name of a permission that lists the user's roles |
//
// Roles are in the order id, username, email, attributes, default. If two roles have the same permission, the first one
// counts, so a role of one person overrides the default.

#ifndef ROLES_POLICY_H
#define ROLES_POLICY_H

#include "grammar.h"

typedef struct {
    text name, value;
} pair;

typedef struct {
    const pair *items;
    size_t count;
} pairs;

// The facts about a user.
typedef struct {
    text id;
    bool has_username;
    text username;
    // Only an address verified by an upstream provider that the operator trusts with addresses.
    bool has_email;
    text email;
    pairs attributes;
} person;

struct role {
    text name;
    entries entries;
};

// A holder of roles.
struct holder {
    enum { BY_ID, BY_USERNAME, BY_EMAIL, BY_ATTRIBUTE, EVERYBODY } kind;
    // In lower case if case does not matter. The value is an attribute's.
    text name, value;
    texts roles;
};

// The parsed settings. Their texts are slices of the original settings, which must live as long.
typedef struct {
    struct role *roles;
    size_t role_count, role_room;
    struct holder *holders;
    size_t holder_count, holder_room;
    text list_roles_as;
} policy;

typedef struct {
    text name;
    value value;
} permission;

typedef struct {
    permission *items;
    size_t count, room;
} permissions;

// Parses the settings. Checks all of them, so that a mistake shows at the first call, not when the person whom it
// concerns signs in. Returns false if there is one, and sets `mistake` to a sentence for the operator that names the
// setting.
bool policy_read(arena *memory, pairs settings, policy *read, text *mistake);

// The roles of a person, without duplicates, in order of precedence.
texts policy_roles(arena *memory, const policy *policy, const person *person);

// The person's permissions in a service, sorted by name.
permissions policy_permissions(arena *memory, const policy *policy, text service, const person *person);

#endif
