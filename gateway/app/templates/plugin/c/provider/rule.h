#ifndef RULE_H
#define RULE_H

#include <stdbool.h>
#include <stddef.h>

// Not ended by a NUL: what comes from the gateway has a length.
typedef struct {
    const char *bytes;
    size_t length;
} text;

// Whether a user may edit: `editors` lists user ids, separated by commas; `*` is everybody.
bool may_edit(text editors, text user_id);

#endif
