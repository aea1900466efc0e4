// Lower case by Unicode's rules. C's `towlower` does not have all of them.

#ifndef ROLES_UNICODE_H
#define ROLES_UNICODE_H

#include "text.h"

// The text in lower case.
text text_lowercase(arena *memory, text whole);

#endif
