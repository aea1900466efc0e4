// Who has which role, and what a role may do. Knows nothing of the gateway, so that it can be tested by
// itself.
//
// | setting | meaning |
// |---|---|
// | `role.<role>` | what the role may do: a list of permissions (grammar.h) |
// | `default` | the roles that everybody has |
// | `user-id.<id>` | the roles of the user with this id |
// | `username.<name>` | the roles of the user with this username, whatever its case |
// | `email.<address>` | the roles of the user with this address, whatever its case |
// | `attribute.<name>=<value>` | the roles of all users with this attribute |
// | `list-roles-as` | the name of a permission that lists the user's roles |
//
// Roles count in the order id, username, email, attributes, default; of two that give the same permission,
// the first decides. So a role given to one person overrides what everybody has.

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

// What is known of a user.
typedef struct {
    text id;
    bool has_username;
    text username;
    // Only an address that an upstream provider has verified whose word on addresses the operator trusts.
    bool has_email;
    text email;
    pairs attributes;
} person;

struct role {
    text name;
    entries entries;
};

// Whom a setting gives roles to.
struct holder {
    enum { BY_ID, BY_USERNAME, BY_EMAIL, BY_ATTRIBUTE, EVERYBODY } kind;
    // In small letters where their case does not matter. The value is an attribute's.
    text name, value;
    texts roles;
};

// The settings, read and checked. Its texts are pieces of the settings, which have to live as long.
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

// Reads the settings. All of them are checked, so that a mistake is seen at the first question and not when
// the one person comes whom it concerns. Where there is one, gives false and says in `mistake` what is
// wrong: a sentence for the operator that names the setting.
bool policy_read(arena *memory, pairs settings, policy *read, text *mistake);

// The roles of a person, each once, the first to decide first.
texts policy_roles(arena *memory, const policy *policy, const person *person);

// What a person may do in a service, sorted by name.
permissions policy_permissions(arena *memory, const policy *policy, text service, const person *person);

#endif
