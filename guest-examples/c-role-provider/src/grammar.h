// The syntax of permissions: `read, wiki:edit, quota=10, groups=["a","b"]`.
//
// An entry is `[service:]permission[=value]`. Commas and line breaks separate entries, except within quotes, brackets
// and braces. A value is `true`, `false`, a number, JSON (if it begins with `"`, `[` or `{`, or is `null`) or else
// text; without a value, it is `true`. The service `*`, or no service, means every service.

#ifndef ROLES_GRAMMAR_H
#define ROLES_GRAMMAR_H

#include "text.h"

typedef struct {
    enum { BOOLEAN, INTEGER, NUMBER, STRING, JSON } kind;
    union {
        bool boolean;
        int64_t integer;
        double number;
        // For `STRING` and `JSON`. The gateway checks that it is JSON.
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

// Parses a list of permissions, whose texts are slices of `list`. On error, returns false and sets `mistake` to what is
// wrong, without the name of the setting.
bool read_entries(arena *memory, text list, entries *found, text *mistake);

// Reads a list of names: words between commas or line breaks.
texts read_names(arena *memory, text list);

void texts_add(arena *memory, texts *list, text item);

#endif
