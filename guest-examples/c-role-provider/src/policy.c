#include "policy.h"

#include <stdlib.h>
#include <string.h>

#include "unicode.h"

#define UNKNOWN \
    TEXT("there is no such setting; they are `default`, `list-roles-as`, and those that begin with " \
         "`role.`, `user-id.`, `username.`, `email.` or `attribute.`")

static const struct role *find_role(const policy *policy, text name) {
    for (size_t i = 0; i < policy->role_count; i++) {
        if (text_equals(policy->roles[i].name, name)) {
            return &policy->roles[i];
        }
    }
    return NULL;
}

// The name of the setting for a holder.
static text setting_of(arena *memory, const struct holder *holder) {
    switch (holder->kind) {
        case BY_ID:
            return JOIN(memory, TEXT("user-id."), holder->name);
        case BY_USERNAME:
            return JOIN(memory, TEXT("username."), holder->name);
        case BY_EMAIL:
            return JOIN(memory, TEXT("email."), holder->name);
        case BY_ATTRIBUTE:
            return JOIN(memory, TEXT("attribute."), holder->name, TEXT("="), holder->value);
        case EVERYBODY:
            break;
    }
    return TEXT("default");
}

static bool read_one(arena *memory, policy *read, text name, text value, text *mistake) {
    struct holder holder = {0};
    text kind = name, rest = {0};
    bool has_dot = text_split(name, '.', &kind, &rest);
    if (has_dot && rest.length == 0) {
        *mistake = TEXT("nothing follows the dot");
        return false;
    }
    if (!has_dot && text_equals(kind, TEXT("default"))) {
        holder.kind = EVERYBODY;
    } else if (!has_dot && text_equals(kind, TEXT("list-roles-as"))) {
        read->list_roles_as = text_trim(value);
        return true;
    } else if (has_dot && text_equals(kind, TEXT("role"))) {
        struct role role = {.name = rest};
        if (!read_entries(memory, value, &role.entries, mistake)) {
            return false;
        }
        read->roles =
            arena_grow(memory, read->roles, read->role_count, &read->role_room, sizeof(struct role));
        read->roles[read->role_count++] = role;
        return true;
    } else if (has_dot && text_equals(kind, TEXT("user-id"))) {
        holder.kind = BY_ID;
        holder.name = rest;
    } else if (has_dot && text_equals(kind, TEXT("username"))) {
        holder.kind = BY_USERNAME;
        holder.name = text_lowercase(memory, rest);
    } else if (has_dot && text_equals(kind, TEXT("email"))) {
        if (text_find(rest, '@') == rest.length) {
            *mistake = TEXT("this is not an email address");
            return false;
        }
        holder.kind = BY_EMAIL;
        holder.name = text_lowercase(memory, rest);
    } else if (has_dot && text_equals(kind, TEXT("attribute"))) {
        holder.kind = BY_ATTRIBUTE;
        if (!text_split(rest, '=', &holder.name, &holder.value)) {
            *mistake = TEXT("write `attribute.<name>=<value>`");
            return false;
        }
    } else {
        *mistake = UNKNOWN;
        return false;
    }
    holder.roles = read_names(memory, value);
    read->holders =
        arena_grow(memory, read->holders, read->holder_count, &read->holder_room, sizeof(struct holder));
    read->holders[read->holder_count++] = holder;
    return true;
}

bool policy_read(arena *memory, pairs settings, policy *read, text *mistake) {
    *read = (policy){0};
    for (size_t i = 0; i < settings.count; i++) {
        text name = settings.items[i].name, what;
        if (!read_one(memory, read, name, settings.items[i].value, &what)) {
            *mistake = JOIN(memory, TEXT("setting `"), name, TEXT("`: "), what);
            return false;
        }
    }
    for (size_t i = 0; i < read->holder_count; i++) {
        const struct holder *holder = &read->holders[i];
        for (size_t j = 0; j < holder->roles.count; j++) {
            text role = holder->roles.items[j];
            if (find_role(read, role) == NULL) {
                *mistake = JOIN(memory, TEXT("setting `"), setting_of(memory, holder),
                                TEXT("`: there is no role `"), role,
                                TEXT("`; define it by a setting `role."), role, TEXT("`"));
                return false;
            }
        }
    }
    return true;
}

static bool contains(const texts *list, text item) {
    for (size_t i = 0; i < list->count; i++) {
        if (text_equals(list->items[i], item)) {
            return true;
        }
    }
    return false;
}

// Adds the roles of a holder to a person's roles. Two settings may be for one holder, for example with two spellings of
// an address. The person has the roles of both.
static void add_roles(arena *memory, const policy *policy, struct holder wanted, texts *roles) {
    for (size_t i = 0; i < policy->holder_count; i++) {
        const struct holder *holder = &policy->holders[i];
        if (holder->kind != wanted.kind || !text_equals(holder->name, wanted.name) ||
            !text_equals(holder->value, wanted.value)) {
            continue;
        }
        for (size_t j = 0; j < holder->roles.count; j++) {
            if (!contains(roles, holder->roles.items[j])) {
                texts_add(memory, roles, holder->roles.items[j]);
            }
        }
    }
}

texts policy_roles(arena *memory, const policy *policy, const person *person) {
    texts roles = {0};
    add_roles(memory, policy, (struct holder){.kind = BY_ID, .name = person->id}, &roles);
    if (person->has_username) {
        text name = text_lowercase(memory, person->username);
        add_roles(memory, policy, (struct holder){.kind = BY_USERNAME, .name = name}, &roles);
    }
    if (person->has_email) {
        text address = text_lowercase(memory, person->email);
        add_roles(memory, policy, (struct holder){.kind = BY_EMAIL, .name = address}, &roles);
    }
    for (size_t i = 0; i < person->attributes.count; i++) {
        pair attribute = person->attributes.items[i];
        add_roles(memory, policy,
                  (struct holder){.kind = BY_ATTRIBUTE, .name = attribute.name, .value = attribute.value},
                  &roles);
    }
    add_roles(memory, policy, (struct holder){.kind = EVERYBODY}, &roles);
    return roles;
}

static permission *find_permission(const permissions *found, text name) {
    for (size_t i = 0; i < found->count; i++) {
        if (text_equals(found->items[i].name, name)) {
            return &found->items[i];
        }
    }
    return NULL;
}

static void add_permission(arena *memory, permissions *found, text name, value value) {
    found->items = arena_grow(memory, found->items, found->count, &found->room, sizeof(permission));
    found->items[found->count++] = (permission){name, value};
}

static int by_name(const void *left, const void *right) {
    text a = ((const permission *)left)->name, b = ((const permission *)right)->name;
    size_t shorter = a.length < b.length ? a.length : b.length;
    int order = shorter == 0 ? 0 : memcmp(a.bytes, b.bytes, shorter);
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

// A JSON string (RFC 8259 section 7 has the escapes), as pieces.
static void add_json(arena *memory, texts *parts, text content) {
    texts_add(memory, parts, TEXT("\""));
    size_t start = 0;
    for (size_t at = 0; at < content.length; at++) {
        unsigned char byte = (unsigned char)content.bytes[at];
        if (byte >= 0x20 && byte != '"' && byte != '\\') {
            continue;
        }
        texts_add(memory, parts, text_from(text_until(content, at), start));
        start = at;
        if (byte < 0x20) {
            const char *digits = "0123456789abcdef";
            const char *pair[] = {digits + (byte >> 4), digits + (byte & 15)};
            texts_add(memory, parts, JOIN(memory, TEXT("\\u00"), {pair[0], 1}, {pair[1], 1}));
            start = at + 1;
        } else {
            // The character itself begins the next slice.
            texts_add(memory, parts, TEXT("\\"));
        }
    }
    texts_add(memory, parts, text_from(content, start));
    texts_add(memory, parts, TEXT("\""));
}

static text json_list(arena *memory, const texts *list) {
    texts parts = {0};
    texts_add(memory, &parts, TEXT("["));
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) {
            texts_add(memory, &parts, TEXT(","));
        }
        add_json(memory, &parts, list->items[i]);
    }
    texts_add(memory, &parts, TEXT("]"));
    return text_join(memory, parts.count, parts.items);
}

permissions policy_permissions(arena *memory, const policy *policy, text service, const person *person) {
    permissions found = {0};
    texts roles = policy_roles(memory, policy, person);
    for (size_t i = 0; i < roles.count; i++) {
        // Every holder's roles were looked up when the settings were read.
        const struct role *role = find_role(policy, roles.items[i]);
        for (size_t j = 0; role != NULL && j < role->entries.count; j++) {
            const entry *entry = &role->entries.items[j];
            bool holds = entry->in_every_service || text_equals(entry->service, service);
            if (holds && find_permission(&found, entry->name) == NULL) {
                add_permission(memory, &found, entry->name, entry->value);
            }
        }
    }
    if (policy->list_roles_as.length > 0) {
        value list = {.kind = JSON, .text = json_list(memory, &roles)};
        permission *same = find_permission(&found, policy->list_roles_as);
        if (same != NULL) {
            same->value = list;
        } else {
            add_permission(memory, &found, policy->list_roles_as, list);
        }
    }
    if (found.count > 0) {
        qsort(found.items, found.count, sizeof(permission), by_name);
    }
    return found;
}
