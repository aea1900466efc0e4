#ifndef RULE_H
#define RULE_H

#include <stdbool.h>
#include <stddef.h>

// Not ended by a NUL: what comes from the gateway has a length.
typedef struct {
    const char *bytes;
    size_t length;
} text;

// Whether an address, which may be empty, is one of the domain's. Where no domain is set, none is.
bool lets_in(text domain, text email);

#endif
