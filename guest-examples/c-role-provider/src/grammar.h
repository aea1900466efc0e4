// How permissions are written: `read, wiki:edit, quota=10, groups=["a","b"]`.
//
// An entry is `[service:]permission[=value]`; commas and line breaks separate entries, except within
// quotes, brackets and braces. Without a value it is `true`; a value is `true` or `false`, a number, JSON
// where it begins with `"`, `[` or `{` or is `null`, and text otherwise. The service `*` is every service,
// which is what an entry without one means too.

#ifndef ROLES_GRAMMAR_H
#define ROLES_GRAMMAR_H

#include "text.h"

typedef struct {
    enum { BOOLEAN, INTEGER, NUMBER, STRING, JSON } kind;
    union {
        bool boolean;
        int64_t integer;
        double number;
        // For `STRING`, and for `JSON`: whether it is JSON, the gateway checks.
        text text;
    };
} value;

typedef struct {
    bool in_every_service;
    text service;
    text name;
    value value;
} entry;

typedef struct {
    entry *items;
    size_t count, room;
} entries;

typedef struct {
    text *items;
    size_t count, room;
} texts;

// Reads a list of permissions, whose texts are pieces of `list`. Where that is not possible, gives false
// and says in `mistake` what is wrong, without saying in which setting.
bool read_entries(arena *memory, text list, entries *found, text *mistake);

// Reads a list of names: words between commas or line breaks.
texts read_names(arena *memory, text list);

void texts_add(arena *memory, texts *list, text item);

#endif
