// Small letters, by Unicode's rules. C's own `towlower` does not know all of them.

#ifndef ROLES_UNICODE_H
#define ROLES_UNICODE_H

#include "text.h"

// The text with small letters in place of capitals.
text text_lowercase(arena *memory, text whole);

#endif
